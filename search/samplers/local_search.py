"""Local search: a random step from a random plan of the front (Paquete et al. 2004, LNEMS 535)."""

from __future__ import annotations

import random

from isoshare.search.samplers.history import History
from isoshare.space.plan import SharingPlan


class LocalSampler:
    """Steps are those of ``SearchSpace.neighbours``: split, merge, move, another option or method.

    When no plan of the front has a new neighbour, it is left to chance.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def propose(self, rng: random.Random) -> SharingPlan | None:
        """A new neighbour of a plan of the front."""
        front = [trial.plan for trial in self._history.front()]
        for plan in rng.sample(front, len(front)):
            neighbours = list(self._history.space.neighbours(plan))
            new = [one for one in neighbours if self._history.may_be_proposed(one)]
            if new:
                return rng.choice(new)
        return None

    def remaining(self) -> float | None:
        """Unknown."""
        return None
