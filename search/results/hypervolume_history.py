"""How a search came to its front: the hypervolume after each trial, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from isoshare.search.constraints import Constraint
from isoshare.search.pareto import Axis, Front, pareto_front, with_all_values
from isoshare.storage.records import StudyRecord, TrialRecord

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class FrontAt:
    """The front when a trial had ended.

    seconds: since the study was made, pauses included. finished: trials with all values by then.
    remaining: what the sampler still expected to gain at most when it proposed the trial, as a
    share of the hypervolume; None if it could not tell.
    """

    seconds: float
    trial: int
    finished: int
    front_size: int
    hypervolume: float
    remaining: float | None = None


@dataclass(frozen=True)
class FrontHistory:
    """The moments at which the front changed, and the last one. ``front`` is the front now."""

    front: Front
    moments: tuple[FrontAt, ...] = ()
    finished: int = 0

    def after(
        self, study: StudyRecord, trials: Iterable[TrialRecord], limits: Sequence[Constraint]
    ) -> FrontHistory:
        """The history with more trials, in the order in which they ended.

        Who leaves the front never comes back, so a trial is compared with its members only. Most
        are dominated by one, and leave everything as it is.
        """
        history = self
        for trial in sorted(trials, key=lambda one: (ended(one), one.number)):
            history = history._with(study, trial, limits)
        return history

    def _with(
        self, study: StudyRecord, trial: TrialRecord, limits: Sequence[Constraint]
    ) -> FrontHistory:
        front = self.front
        if limits or not front.dominates(trial):
            found = pareto_front(front.axes, [*front.members, trial], limits)
            # Excluded trials are only carried along: they are on no front.
            front = replace(found, excluded=(*front.excluded, *found.excluded))
        count = self.finished + 1
        seconds = max(0.0, (ended(trial) - study.created).total_seconds())
        moment = FrontAt(
            seconds,
            trial.number,
            count,
            len(front.members),
            front.hypervolume,
            trial.proposal.get("remaining"),
        )
        return FrontHistory(front, (*_changes(self.moments), moment), count)


def history_of(
    study: StudyRecord,
    axes: Sequence[Axis],
    trials: Sequence[TrialRecord],
    limits: Sequence[Constraint] = (),
) -> FrontHistory:
    """The history of a study from its first trial on."""
    start = FrontHistory(pareto_front(axes, []))
    return start.after(study, with_all_values(axes, trials), limits)


def ended(trial: TrialRecord) -> datetime:
    """When the last validation measurement of a trial was stored."""
    times = [m.stored for m in trial.measurements if m.split == "validation" and m.stored]
    return max(times, default=NEVER)


def _changes(moments: tuple[FrontAt, ...]) -> tuple[FrontAt, ...]:
    """Without the last moment if nothing changed at it."""
    if len(moments) > 1 and moments[-1].hypervolume == moments[-2].hypervolume:
        return moments[:-1]
    return moments
