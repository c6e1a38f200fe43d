"""Which trainings go on: asynchronous successive halving for several objectives.

At each rung, a number of epochs, plans are compared by what they have after so many: by
non-dominated rank, within a rank by the hypervolume that only they add (Schmucker et al. 2021,
arXiv 2106.12639, with the hypervolume in place of their epsilon-net). The best part goes on, the
others are stopped; one that belongs to the best part later, because worse ones have come, is taken
up again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from isoshare.search.pareto import Points, ranked


class SuccessiveHalving:
    """What is known at each rung, by trial.

    rungs: epochs, ascending; factor: one in so many plans goes on from a rung.
    """

    def __init__(self, rungs: Sequence[int], factor: int, reference: Sequence[float]) -> None:
        self.rungs = tuple(rungs)
        self._factor = factor
        self._reference = list(reference)
        self._seen: dict[int, dict[int, Sequence[float]]] = defaultdict(dict)

    def note(self, number: int, epochs: int, values: Sequence[float]) -> None:
        """A trial has these values, all to be minimised, at a rung."""
        self._seen[epochs][number] = values

    def goes_on(self, number: int, epochs: int) -> bool:
        """Whether a trial is among the best part of those seen at a rung."""
        return number in self._best(epochs)

    def recalled(self, stopped: Sequence[int]) -> int | None:
        """A stopped trial that belongs to the best part of its last rung now: the one that has come
        farthest.
        """
        for epochs in reversed(self.rungs):
            best = self._best(epochs)
            for number in stopped:
                if number in best and self.last(number) == epochs:
                    return number
        return None

    def last(self, number: int) -> int:
        """The last rung that a trial has come to, or 0."""
        return max((epochs for epochs, seen in self._seen.items() if number in seen), default=0)

    def _best(self, epochs: int) -> set[int]:
        seen = self._seen[epochs]
        numbers = list(seen)
        if not numbers:
            return set()
        points: Points = np.array([seen[number] for number in numbers])
        order = ranked(points, self._reference)
        return {numbers[place] for place in order[: math.ceil(len(numbers) / self._factor)]}
