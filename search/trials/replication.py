"""Which plans of the front are measured again with new seeds, so that it is not the luckiest."""

from __future__ import annotations

import math
from collections.abc import Collection

from isoshare.search.pareto import Front, comparable, minimised, ranked
from isoshare.storage.records import TrialRecord

MOST = 8
"""A plan is measured at most so many times."""


def times_measured(trial: TrialRecord, replicates: int) -> int:
    """How often a finished trial was measured on the validation images."""
    seeds = {one.seed for one in trial.measurements if one.split == "validation"}
    return math.ceil(len(seeds) / replicates)


class Replication:
    """Counts what has been measured again and chooses what is next.

    share: of the budget; replicates: seeds of one measurement; done: measurements beyond the first
    one of each plan.
    """

    def __init__(self, share: float, replicates: int) -> None:
        self._share = share
        self._replicates = replicates
        self._times: dict[int, int] = {}
        self.done = 0
        self._given_up: set[int] = set()

    def note(self, trial: TrialRecord) -> None:
        """A trial as it is now."""
        if self._share and trial.state == "finished":
            times = times_measured(trial, self._replicates)
            self.done += max(0, times - 1) - max(0, self._times.get(trial.number, 0) - 1)
            self._times[trial.number] = times

    def give_up(self, number: int) -> None:
        """A plan could not be measured again."""
        self._given_up.add(number)

    def are_due(self, spent: int, running: int) -> bool:
        """Whether the share is not used up. spent: of the budget so far; running: repeats."""
        return self.done + running < math.floor(self._share * (spent + 1))

    def next(self, front: Front, busy: Collection[int]) -> TrialRecord | None:
        """Of the plans of the front that were measured least often the one whose luck would cost
        the most hypervolume.
        """
        free = [trial for trial in front.members if self._is_free(trial.number, busy)]
        if not free:
            return None
        reference = [comparable(axis, axis.reference) for axis in front.axes]
        points = minimised(front.axes, free, comparable)
        by_weight = [free[place] for place in ranked(points, reference)]
        return min(by_weight, key=lambda trial: self._times[trial.number])

    def seeds(self, trial: TrialRecord) -> tuple[int, ...]:
        """The next seeds of a plan that was measured before."""
        known = [one.seed for one in trial.measurements if one.split == "validation"]
        return tuple(range(max(known) + 1, max(known) + 1 + self._replicates))

    def _is_free(self, number: int, busy: Collection[int]) -> bool:
        taken = number in busy or number in self._given_up
        return not taken and self._times.get(number, MOST) < MOST
