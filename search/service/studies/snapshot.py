"""One state of one study as the service shows it: what is computed from it is computed once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Condition
from typing import Any, TypeVar

from cachetools import LRUCache, cached

from isoshare.search.pareto import knee
from isoshare.search.results.gains import gains_in_words
from isoshare.search.results.hypervolume_history import FrontHistory
from isoshare.search.results.pictures.answers import (
    by_trial_plot,
    effects_plot,
    groups_plot,
    timeline_plot,
)
from isoshare.search.results.pictures.figures import Point, front_figure
from isoshare.search.results.pictures.plotly_figure import front_plot, history_plot
from isoshare.search.results.scaling_alone import sharing_in_words
from isoshare.search.results.study_results import Results
from isoshare.search.results.tables import front_json
from isoshare.search.results.timeline import seconds_left
from isoshare.search.trials.replication import times_measured
from isoshare.space.plan import SharingPlan
from isoshare.storage.records import NoteRecord, StudyRecord, TrialRecord
from isoshare.storage.study_values import NetworkRecord

T = TypeVar("T")
MOST_REMEMBERED = 32


def _memory() -> Any:
    """A function of a key and of what makes its value; who makes one keeps nobody from another."""
    by_key = cached(LRUCache(MOST_REMEMBERED), lambda *given: given[0], condition=Condition())
    return by_key(lambda _, make: make())


@dataclass(frozen=True)
class Snapshot:
    """One state of one study. What is computed from it is computed once.

    counts: trials by state. notes: of people, by the number of the trial, None for the study.
    budget: trials that the search is to have.
    """

    version: int
    results: Results
    points: dict[int, Point]
    history: FrontHistory
    counts: dict[str, int]
    notes: Mapping[int | None, NoteRecord] = field(default_factory=dict)
    _memory: Any = field(default_factory=_memory, repr=False, compare=False)

    @property
    def study(self) -> StudyRecord:
        """The study itself."""
        return self.results.study

    @cached_property
    def budget(self) -> int:
        """Fewer trials than asked for where plans were measured again, or if there are no more."""
        asked = self.study.config.trials - self.repeats
        return min(asked, self.study.context.plans)

    @cached_property
    def repeats(self) -> int:
        """How often plans were measured again with new seeds."""
        config = self.study.config
        if not config.repeats:
            return 0
        trials = self.results.finished
        return sum(times_measured(one, config.replicates) - 1 for one in trials)

    @cached_property
    def ended(self) -> int:
        """Trials that are over, however they ended."""
        return sum(number for state, number in self.counts.items() if state != "running")

    @cached_property
    def seconds_left(self) -> float | None:
        """How long the rest of the budget will take."""
        return seconds_left(self.results.finished, self.budget - self.ended)

    def network(self, plan: SharingPlan) -> NetworkRecord:
        """The unshared network that a plan is for, with its layers in module order."""
        return self.study.context.of(plan)

    @property
    def _of_reference(self) -> list[TrialRecord]:
        """The finished trials of the variant that sizes are compared with; all, if there is one."""
        context = self.study.context
        return [one for one in self.results.finished if context.of(one.plan).sites == context.sites]

    @cached_property
    def complete(self) -> bool:
        """Whether nothing is left to do: all trials ended, the front measured on test images."""
        seeds = self.study.config.replicates
        members = self.results.front.members
        enough = self.ended >= self.budget or self.study.config.stop_at is not None
        return enough and all(_tested(trial, seeds) for trial in members)

    @property
    def front(self) -> bytes:
        """The front as ``pareto --json`` prints it."""
        return self.remembered("front", lambda: _json(front_json(self.results)))

    @property
    def packed_figure(self) -> bytes:
        """The same for a client that takes gzip."""
        figure = self.figure
        return self.remembered("packed figure", lambda: gzip.compress(figure, 5))

    @property
    def effects(self) -> bytes:
        """What sharing each group costs, as JSON for plotly.js; seconds for a large study."""
        return self.remembered("effects", lambda: _json(_effects(self.results)))

    @property
    def sharing(self) -> str | None:
        """What sharing is worth beside scaling alone, in words, where the search varies sizes."""
        return self.remembered("sharing", lambda: sharing_in_words(self.results))

    @property
    def gains(self) -> tuple[str, ...]:
        """What was won over what one would do without the search, in sentences."""
        return self.remembered("gains", lambda: gains_in_words(self.results))

    @property
    def figure(self) -> bytes:
        """The picture of the front and that of the hypervolume, as JSON for plotly.js."""
        return self.remembered("figure", lambda: _json(self._plots()))

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns: one reader makes it, the others wait for it."""
        found: T = self._memory(key, make)
        return found

    @property
    def _knee(self) -> int | None:
        members = self.results.front.members
        return knee(self.results.front).number if members else None

    def _plots(self) -> dict[str, Any]:
        axis = self.results.front.axes[0]
        front = {trial.number for trial in self.results.front.members}
        return {
            "version": self.version,
            "front": front_plot(front_figure(self.results, self.points), self._knee),
            "history": history_plot(self.history),
            "by_trial": by_trial_plot(list(self.points.values()), axis),
            "timeline": timeline_plot(self.results.trials, self.study.created),
            "groups": groups_plot(self._of_reference, self.study.context.sites, axis, front),
        }


def _effects(results: Results) -> dict[str, Any]:
    from isoshare.search.results.optuna_file import importances  # these take their time of import
    from isoshare.search.workflows.importance import effects

    found = effects(results)
    rows = [(one.group, one.method, one.mean, one.std) for one in found]
    return {
        "effects": effects_plot(rows, results.front.axes[0]),
        "rows": [vars(one) for one in found],
        "optuna": importances(results),
    }


def _tested(trial: TrialRecord, seeds: int) -> bool:
    return sum(m.split == "test" for m in trial.measurements) >= seeds


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
