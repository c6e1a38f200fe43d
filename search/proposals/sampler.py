"""What a sampler sees and what it does: the history of a search, and four calls.

The engine is given a function that makes a sampler from the history (the rows of SAMPLERS in
search/samplers/): nothing here knows which samplers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from isoshare.search.constraints import Constraint, fits, violations
from isoshare.search.pareto import Axis, minimised, nondominated, values_of
from isoshare.search.proposals.foresight import Foresight
from isoshare.space.plan import SharingPlan
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import TrialRecord


@dataclass(frozen=True)
class History:
    """The trials of a study as they stand now; whoever holds it looks and changes nothing.

    axes: the objectives; limits: the constraints on exact and on measured ones; trials: by number;
    is_new: whether a plan is not in the study yet; seed: of the study; foresight: what trained
    weights say of plans, where they were asked.
    """

    space: Space
    axes: Sequence[Axis]
    limits: Sequence[Constraint]
    trials: Mapping[int, TrialRecord]
    is_new: Callable[[SharingPlan], bool]
    seed: int = 0
    foresight: Foresight | None = None

    @cached_property
    def exact_limits(self) -> tuple[Constraint, ...]:
        """The constraints that are known before anything is trained."""
        return tuple(limit for limit in self.limits if limit.is_exact)

    def fits(self, plan: SharingPlan) -> bool:
        """Whether a plan keeps all constraints on exact objectives."""
        return fits(self.exact_limits, self.space, plan)

    def may_be_proposed(self, plan: SharingPlan) -> bool:
        """Whether a plan is new and keeps those constraints."""
        return self.is_new(plan) and self.fits(plan)

    def values(self, trial: TrialRecord) -> list[float] | None:
        """The objectives of a finished trial in the order of ``axes``; None if one is missing."""
        return values_of(self.axes, trial)

    def violations(self, trial: TrialRecord) -> dict[str, float]:
        """How far a finished trial exceeds each limit on a measured objective, by option."""
        return violations(self.limits, trial)

    def front(self) -> list[TrialRecord]:
        """The finished trials that none dominates."""
        finished = [trial for trial in self.trials.values() if self.values(trial) is not None]
        return [finished[place] for place in nondominated(minimised(self.axes, finished))]

    def seed_of(self, number: int, attempt: int = 0) -> int:
        """A seed for each attempt to find a plan for a trial, unrelated to its neighbours'.

        A sampler that draws from it alone proposes the same plans in a search that is resumed.
        """
        words = np.random.SeedSequence((self.seed, number, attempt)).generate_state(1)
        return int(words[0])


class Sampler:
    """Chooses the next plan from the history it was made with.

    This one leaves every plan to chance: it is random search, and what others are derived from.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def propose(self, number: int) -> SharingPlan | None:  # noqa: ARG002
        """A plan for trial ``number`` that may be proposed; None to leave it to chance."""
        return None

    def memory(self, plan: SharingPlan) -> dict[str, Any]:
        """What to store with a new trial of ``plan``, whoever proposed it.

        ``params``: the plan as parameters of Optuna, for exports; ``system_attrs``: what a sampler
        must see again when the search is resumed.
        """
        return {"params": self._history.space.parameters(plan), "system_attrs": {}}

    def tell(self, trial: TrialRecord) -> None:
        """A trial has ended; one that was stopped may still continue."""

    def remaining(self) -> float | None:
        """The hypervolume that may still be gained, as a share of what there is; None: unknown."""
        return None


MakeSampler = Callable[[History], Sampler]
