"""Some plans of a search space and no others: what a table knows that has not measured all of it.

A sampler walks here as in the whole space. Where a step, a crossing or its choices would leave the
known plans, it gets the one that is most like what it asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations

from isoshare.space.choices.method_choices import Suggester
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace

NEIGHBOURS = 12
"""So many of the plans that are most like it count as a step away from a plan."""
Traits = frozenset[tuple[object, ...]]


class SampledSpace(SearchSpace):
    """The part of a ``whole`` space that has only ``plans``."""

    def __init__(self, whole: SearchSpace, plans: Sequence[SharingPlan]) -> None:
        costs = whole.costs if whole.has_costs else None
        self._plans = {plan: traits_of(plan) for plan in plans}
        super().__init__(whole.sites, whole.unshared, whole.methods, None, costs, whole.variant)

    def __contains__(self, plan: object) -> bool:
        """Whether the plan is one of those."""
        return plan in self._plans

    def count(self) -> int:
        """How many plans there are."""
        return len(self._plans)

    def plans(self) -> Iterator[SharingPlan]:
        """All of them, each once."""
        return iter(self._plans)

    @cached_property
    def smallest_plan(self) -> SharingPlan:
        """The plan with the fewest parameters."""
        return self.cheapest(self.trainable_parameters)

    def cheapest(self, cost: Callable[[SharingPlan], float]) -> SharingPlan:
        """The plan of the lowest ``cost``."""
        return min(self._plans, key=cost)

    def warm_starts(self) -> dict[str, SharingPlan]:
        """Those of the whole space that are here."""
        return {name: plan for name, plan in super().warm_starts().items() if plan in self._plans}

    def suggest(self, trial: Suggester) -> SharingPlan:
        """The plan that is most like the one which a sampler chooses."""
        return self._nearest(super().suggest(trial))

    def random_plan(self, rng: random.Random) -> SharingPlan:
        """One of them, drawn evenly."""
        return rng.choice(list(self._plans))

    def crossing(self, one: SharingPlan, other: SharingPlan, rng: random.Random) -> SharingPlan:
        """The plan that is most like a crossing of two of them."""
        return self._nearest(super().crossing(one, other, rng))

    def neighbours(self, plan: SharingPlan) -> Iterator[SharingPlan]:
        """Those that are most like a plan, the nearest first; none for one that is not here."""
        if plan in self._plans:
            yield from sorted(self._plans, key=self._distance_from(plan))[1 : NEIGHBOURS + 1]

    def _nearest(self, plan: SharingPlan) -> SharingPlan:
        return plan if plan in self._plans else min(self._plans, key=self._distance_from(plan))

    def _distance_from(self, plan: SharingPlan) -> Callable[[SharingPlan], int]:
        traits = traits_of(plan)
        return lambda other: len(traits ^ self._plans[other])


def traits_of(plan: SharingPlan) -> Traits:
    """What two plans may have in common: which sites share with which, and how each does."""
    pairs = (pair for bank in plan.banks for pair in combinations(sorted(bank.sites), 2))
    ways = (
        (site, bank.method, *sorted(bank.options.items()))
        for bank in plan.banks
        for site in bank.sites
    )
    return frozenset((*pairs, *ways))
