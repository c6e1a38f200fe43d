"""Which plans are looked at before one is proposed: all of a small space, else a fresh handful.

Around a front they are steps from its plans and crossings of two of them, group by group; beside
them stand random plans, so that no corner of the space is out of reach.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cached_property

from isoshare.search.proposals.sampler import History
from isoshare.space.plan import SharingPlan

SMALL = 5_000
"""Plans of a space that are all looked at."""
STEPS, CROSSINGS, RANDOM = 50, 10, 10
"""In a larger space: neighbours of a plan of the front, crossings, random plans."""


class Candidates:
    """The plans that may be proposed next."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._neighbours: dict[SharingPlan, list[SharingPlan]] = {}

    @cached_property
    def are_all(self) -> bool:
        """Whether every plan of the space is looked at."""
        return self._history.space.count() <= SMALL

    @cached_property
    def everything(self) -> list[SharingPlan]:
        """All plans of a small space that keep the constraints."""
        return [plan for plan in self._history.space.plans() if self._history.fits(plan)]

    def __call__(self, front: Sequence[SharingPlan], rng: random.Random) -> list[SharingPlan]:
        """New plans, in an order that only ``rng`` decides."""
        if self.are_all:
            return [plan for plan in self.everything if self._history.is_new(plan)]
        found = dict.fromkeys(self._drawn(front, rng))
        return [plan for plan in found if self._history.may_be_proposed(plan)]

    def _drawn(self, front: Sequence[SharingPlan], rng: random.Random) -> Iterator[SharingPlan]:
        space = self._history.space
        if front:
            near = self._steps_from(rng.choice(front))
            yield from rng.sample(near, min(STEPS, len(near)))
            for _ in range(CROSSINGS):
                yield space.crossing(rng.choice(front), rng.choice(front), rng)
        for _ in range(RANDOM):
            yield space.random_plan(rng)

    def _steps_from(self, plan: SharingPlan) -> list[SharingPlan]:
        if plan not in self._neighbours:
            self._neighbours[plan] = list(self._history.space.neighbours(plan))
        return self._neighbours[plan]
