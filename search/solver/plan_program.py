"""The best options of all groups under several budgets: a mixed integer program for HiGHS.

Huangfu and Hall 2018, doi 10.1007/s12532-017-0130-5, through scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from isoshare.evaluators.sensitivities.plan_scores import NOTHING
from isoshare.search.constraints import Constraint
from isoshare.search.pareto import nondominated
from isoshare.search.solver.group_options import Costs, Family, GroupOption
from isoshare.search.solver.plan_fronts import JOINED

Offer = TypeVar("Offer")


def best_places(
    own: Sequence[Sequence[GroupOption]],
    families: Mapping[Offer, Sequence[Family]],
    limits: Sequence[Constraint],
    unshared: Costs,
) -> tuple[Offer, tuple[int, ...]] | None:
    """The number of the option that each group takes, JOINED for a network-wide bank, and whose.

    own: the options of each group; families: for each network-wide offer, None among them, what
    joining is; unshared: what the limits are counted from. None if no combination keeps them.
    """
    names = [limit.objective for limit in limits]
    program = _Program([_worth_having(options, names) for options in own], families)
    budgets = {one.objective: one.value - unshared[one.objective] for one in limits}
    chosen = program.solve(own, budgets)
    if chosen is None:
        return None
    offers = [offer for offer, _, _ in chosen if offer is not None]
    places = {group: number for _, group, number in chosen}
    none = next(offer for offer, parts in families.items() if not any(p.joined for p in parts))
    offer = offers[0] if offers else none
    return offer, tuple(places[group] for group in range(len(own)))


def _worth_having(options: Sequence[GroupOption], names: Sequence[str]) -> list[int]:
    """Those that no other option of the group is better than in everything."""
    rows = np.array([[one.score, *(one.costs[name] for name in names)] for one in options])
    first = np.unique(rows, axis=0, return_index=True)[1]
    first.sort()
    return [int(place) for place in first[nondominated(rows[first])]]


class _Program(Generic[Offer]):
    """A variable for each option that is kept, for each join, for each bank that is joined, and for
    each offer, of which at most one is taken.
    """

    def __init__(
        self, kept: Sequence[Sequence[int]], families: Mapping[Offer, Sequence[Family]]
    ) -> None:
        self.options = [(group, number) for group, some in enumerate(kept) for number in some]
        self.offers = [offer for offer, parts in families.items() if any(p.joined for p in parts)]
        self.banks = [
            (offer, family) for offer in self.offers for family in families[offer] if family.joined
        ]
        self.joins = [
            (bank, group, option)
            for bank, (_, family) in enumerate(self.banks)
            for group, option in family.joined.items()
        ]
        self.groups = len(kept)
        columns = (self.options, self.joins, self.banks, self.offers)
        self.width = sum(len(some) for some in columns)

    def solve(
        self, own: Sequence[Sequence[GroupOption]], budgets: Mapping[str, float]
    ) -> list[tuple[Offer | None, int, int]] | None:
        """Of each group the offer that it joins, if any, and the number of its option."""
        columns = [own[group][number] for group, number in self.options]
        columns += [option for _, _, option in self.joins]
        scores = np.zeros(self.width)
        scores[: len(columns)] = [one.score for one in columns]
        constraints = [self._each_group_once(), *self._who_joins_pays()]
        costs = [self._costs(columns, name) for name in budgets]
        for row, budget in zip(costs, budgets.values(), strict=True):
            constraints.append(LinearConstraint(row[None], -np.inf, budget))
        best = self._least(scores, constraints)
        if best is None:
            return None
        # Of equally good plans the one that has least of what the first budget is for.
        constraints.append(LinearConstraint(scores[None], -np.inf, scores @ best + NOTHING))
        smallest = self._least(costs[0], constraints)
        return self._chosen(best if smallest is None else smallest)

    def _costs(self, columns: Sequence[GroupOption], name: str) -> NDArray[np.float64]:
        """What each variable adds to an objective."""
        fixed = [family.fixed[name] for _, family in self.banks]
        found = [*(one.costs[name] for one in columns), *fixed]
        return np.array(found + [0.0] * (self.width - len(found)))

    def _least(
        self, weights: NDArray[np.float64], constraints: Sequence[LinearConstraint]
    ) -> NDArray[np.bool_] | None:
        """Which variables are taken where their weights add up to the least."""
        whole, bounds = np.ones(self.width), Bounds(0, 1)
        asked = {"integrality": whole, "bounds": bounds, "constraints": constraints}
        found = milp(weights, options={"mip_rel_gap": 0.0}, **asked)
        return None if found.x is None else found.x > 0.5

    def _chosen(self, taken: NDArray[np.bool_]) -> list[tuple[Offer | None, int, int]]:
        joined = taken[len(self.options) :]
        own = [(None, *one) for one, is_taken in zip(self.options, taken, strict=False) if is_taken]
        return own + [
            (self.banks[bank][0], group, JOINED)
            for (bank, group, _), is_taken in zip(self.joins, joined, strict=False)
            if is_taken
        ]

    def _each_group_once(self) -> LinearConstraint:
        rows = lil_array((self.groups, self.width))
        places = [*(group for group, _ in self.options), *(group for _, group, _ in self.joins)]
        for column, group in enumerate(places):
            rows[group, column] = 1
        return LinearConstraint(rows.tocsr(), 1, 1)

    def _who_joins_pays(self) -> list[LinearConstraint]:
        """A join needs its bank, a bank its offer, and one offer is all there is."""
        if not self.offers:
            return []
        joins, banks = len(self.options), len(self.options) + len(self.joins)
        offers = banks + len(self.banks)
        rows = lil_array((offers - joins + 1, self.width))
        for place, (bank, _, _) in enumerate(self.joins):
            rows[place, joins + place], rows[place, banks + bank] = 1, -1
        for bank, (offer, _) in enumerate(self.banks):
            row = len(self.joins) + bank
            rows[row, banks + bank], rows[row, offers + self.offers.index(offer)] = 1, -1
        rows[offers - joins, offers:] = 1
        most = np.zeros(offers - joins + 1)
        most[-1] = 1
        return [LinearConstraint(rows.tocsr(), -np.inf, most)]
