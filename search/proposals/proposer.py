"""Who proposes the next plan: warm starts, then the sampler, then chance, then a walk."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from isoshare.search.constraints import nearest_plan
from isoshare.search.proposals.foresight import SOLVED
from isoshare.search.proposals.sampler import History, Sampler
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import START

CHANCE = 8
"""The attempt whose seed random plans are drawn with; samplers take those before it."""
RANDOM_DRAWS = 200
"""So many plans are drawn at random; if none of them may be proposed, the space is walked."""
FORESEEN_METHODS_FROM = 20
"""The trial from which on each method is measured once everywhere, where a trained network foresaw
what is better: a search that has met a method in small plans alone believes the worst of it
(benchmarks/search_efficiency.py)."""
WALK = 20_000
"""The most plans looked at on that walk."""


@dataclass(frozen=True)
class Proposal:
    """A plan, and who proposed it."""

    plan: SharingPlan
    origin: str


class Proposer:
    """Proposes plans that are new and keep the constraints.

    history: the trials, which it never changes; sampler: asked after the warm starts.
    """

    def __init__(self, history: History, sampler: Sampler) -> None:
        self._history = history
        self._space = history.space
        self._sampler = sampler

    def propose(self, number: int) -> Proposal | None:
        """A new plan for trial ``number``; None if none is left."""
        for proposal in self._candidates(number):
            if self._history.may_be_proposed(proposal.plan):
                return proposal
        return None

    def _candidates(self, number: int) -> Iterator[Proposal]:
        """Plans from the best source to the last resort."""
        yield from self._warm_starts
        if number >= FORESEEN_METHODS_FROM:
            yield from self._known
        chosen = self._sampler.propose(number)
        if chosen is not None:
            yield Proposal(chosen, "sampler")
        rng = random.Random(self._history.seed_of(number, CHANCE))
        for _ in range(RANDOM_DRAWS):
            yield Proposal(self._space.random_plan(rng), "random")
        for plan in self._walk():
            yield Proposal(plan, "walk")

    @cached_property
    def _known(self) -> list[Proposal]:
        """Plans of the space that are known by names, one for each method among them."""
        return [Proposal(plan, name) for name, plan in self._space.warm_starts().items()]

    @cached_property
    def _warm_starts(self) -> list[Proposal]:
        """Those that are known; in place of those of methods what a trained network foresees."""
        foresight = self._history.foresight
        if foresight is None:
            return self._known
        others = [one for one in self._known if not one.origin.startswith(START)]
        return others + [Proposal(plan, SOLVED) for plan in foresight.starts]

    def _walk(self) -> Iterator[SharingPlan]:
        """All plans of a small space; of a larger one those around the smallest plan, or around one
        that keeps the constraints, step by step outwards, never over a constraint.
        """
        if self._space.count() <= WALK:
            yield from self._space.plans()
            return
        start = self._start
        seen, waiting = {start}, deque([start])
        while waiting and len(seen) < WALK:
            plan = waiting.popleft()
            yield plan
            for neighbour in self._space.neighbours(plan):
                if neighbour not in seen and self._history.fits(neighbour):
                    seen.add(neighbour)
                    waiting.append(neighbour)

    @cached_property
    def _start(self) -> SharingPlan:
        """Where the walk begins."""
        limits = self._history.exact_limits
        return nearest_plan(limits, self._space) if limits else self._space.smallest_plan
