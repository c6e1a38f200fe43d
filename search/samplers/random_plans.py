"""Random search over canonical plans: group by group a method, options and a partition."""

from __future__ import annotations

import random

from isoshare.search.samplers.history import History
from isoshare.space.plan import SharingPlan


class RandomSampler:
    """Knows nothing; what it leaves to chance the proposer draws."""

    def __init__(self, history: History) -> None:
        pass

    def propose(self, rng: random.Random) -> SharingPlan | None:  # noqa: ARG002
        """None: any plan is as good as any other."""
        return None

    def remaining(self) -> float | None:
        """Unknown."""
        return None
