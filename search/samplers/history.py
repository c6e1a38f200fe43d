"""What samplers of plans look at: all trials of a study as they stand now."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from isoshare.search.pareto import Axis, minimised, nondominated, values_of
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.storage.records import TrialRecord


@dataclass
class History:
    """The trials of a study by number, kept up to date by the proposer.

    axes: the objectives. fits: whether a plan keeps the constraints; is_new: whether it is not in
    the study yet.
    """

    space: SearchSpace
    axes: Sequence[Axis]
    fits: Callable[[SharingPlan], bool]
    is_new: Callable[[SharingPlan], bool]
    trials: dict[int, TrialRecord] = field(default_factory=dict)

    def may_be_proposed(self, plan: SharingPlan) -> bool:
        """Whether a plan is new and keeps the constraints."""
        return self.is_new(plan) and self.fits(plan)

    def front(self) -> list[TrialRecord]:
        """The finished trials that none dominates."""
        finished = [t for t in self.trials.values() if values_of(self.axes, t) is not None]
        return [finished[place] for place in nondominated(minimised(self.axes, finished))]


class PlanSampler(Protocol):
    """Chooses the next plan from the history it was made with."""

    def propose(self, rng: random.Random) -> SharingPlan | None:
        """A plan that may be proposed; None to leave it to chance."""

    def remaining(self) -> float | None:
        """The hypervolume that may still be gained, as a share of what there is; None: unknown."""
