"""Local search: a random step from a random plan of the front (Paquete et al. 2004, LNEMS 535)."""

from __future__ import annotations

import random

from isoshare.search.proposals.sampler import Sampler
from isoshare.space.plan import SharingPlan


class LocalSampler(Sampler):
    """Steps are those of ``SearchSpace.neighbours``: split, merge, move, another option or method.

    When no plan of the front has a new neighbour, it is left to chance.
    """

    def propose(self, number: int) -> SharingPlan | None:
        """A new neighbour of a plan of the front."""
        rng = random.Random(self._history.seed_of(number))
        front = [trial.plan for trial in self._history.front()]
        for plan in rng.sample(front, len(front)):
            neighbours = list(self._history.space.neighbours(plan))
            new = [one for one in neighbours if self._history.may_be_proposed(one)]
            if new:
                return rng.choice(new)
        return None
