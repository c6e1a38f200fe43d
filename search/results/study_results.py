"""A study as it stands in the database: its trials in numbers, and its front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from isoshare.search.constraints import measured_limits
from isoshare.search.pareto import Front, axes_of, compare, with_all_values
from isoshare.storage.records import HasObjectives, StudyRecord, TrialRecord
from isoshare.storage.store import Store


@dataclass(frozen=True)
class Results:
    """A study and what came of its trials; only those on the front are read as a whole.

    compared: the outcomes of the trials with a value for every objective.
    load: reads trials as a whole, those of these numbers or all, for who needs them.
    """

    study: StudyRecord
    outcomes: tuple[HasObjectives, ...]
    compared: tuple[HasObjectives, ...]
    front: Front
    load: Callable[[Sequence[int] | None], Sequence[TrialRecord]]

    @cached_property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials: seconds where there are thousands."""
        return tuple(self.load(None))

    @cached_property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Those with a value for every objective, as a whole."""
        whole = tuple(one for one in self.compared if isinstance(one, TrialRecord))
        if len(whole) == len(self.compared):
            return whole  # as they were given, so that nothing has to be read
        return tuple(with_all_values(self.front.axes, self.trials))


def load_results(store: Store, name: str) -> Results:
    """A study as it is in the database now. Raises StoreError."""
    study = store.study(name)
    axes, limits = axes_of(study), measured_limits(study.config.options)
    names = [*(axis.name for axis in axes), *(limit.objective for limit in limits)]
    outcomes = store.outcomes(name, list(dict.fromkeys(names)))
    compared = with_all_values(axes, outcomes)
    best, excluded, volume = compare(axes, compared, limits)
    records = {trial.number: trial for trial in store.trials(name, [one.number for one in best])}
    members = tuple(records[one.number] for one in best)
    front = Front(axes, members, volume, tuple(excluded))
    return Results(study, tuple(outcomes), tuple(compared), front, partial(store.trials, name))


def excluded_in_words(results: Results) -> str | None:
    """How many trials are not on the front because of a measured limit, and how near they came."""
    front, said = results.front, []
    for limit in measured_limits(results.study.config.options) if front.excluded else ():
        broken = [trial for trial in front.excluded if not limit.keeps(trial)]
        values = [v for trial in broken if (v := trial.value(limit.objective)) is not None]
        best = f", the nearest has {min(values, key=limit.violation):.4g}" if values else ""
        said.append(f"{len(broken)} of {len(results.compared)} plans break {limit.flag}{best}")
    return "; ".join(said) or None
