"""The best options of all groups under several budgets: a mixed integer program for HiGHS.

Huangfu and Hall 2018, doi 10.1007/s12532-017-0130-5, through scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

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
    budgets = {one.objective: one.value - unshared[one.objective] for one in limits}
    kept = [_worth_having(options, names) for options in own]
    best: tuple[float, Offer, tuple[int, ...]] | None = None
    for offer, parts in families.items():
        found = _solve(own, kept, parts, budgets)
        if found is not None and (best is None or found[0] < best[0]):
            best = (found[0], offer, found[1])
    return None if best is None else best[1:]


def _worth_having(options: Sequence[GroupOption], names: Sequence[str]) -> list[int]:
    """Those that no other option of the group is better than in everything."""
    rows = np.array([[one.score, *(one.costs[name] for name in names)] for one in options])
    first = np.unique(rows, axis=0, return_index=True)[1]
    first.sort()
    return [int(place) for place in first[nondominated(rows[first])]]


def _solve(
    own: Sequence[Sequence[GroupOption]],
    kept: Sequence[Sequence[int]],
    families: Sequence[Family],
    budgets: Mapping[str, float],
) -> tuple[float, tuple[int, ...]] | None:
    """One program: a variable for each option, for joining, and for each bank that is joined."""
    variables = [(group, number) for group, numbers in enumerate(kept) for number in numbers]
    columns = [own[group][number] for group, number in variables]
    joins = [(group, one) for family in families for group, one in family.joined.items()]
    variables += [(group, JOINED) for group, _ in joins]
    columns += [option for _, option in joins]
    banks = [family for family in families if family.joined]
    scores = [*(one.score for one in columns), *(0.0 for _ in banks)]
    groups = lil_array((len(own), len(scores)))
    for place, (group, _) in enumerate(variables):
        groups[group, place] = 1
    constraints = [LinearConstraint(groups.tocsr(), 1, 1)]
    for name, budget in budgets.items():
        costs = [*(one.costs[name] for one in columns), *(bank.fixed[name] for bank in banks)]
        constraints.append(LinearConstraint(np.array([costs]), -np.inf, budget))
    constraints += _joining(variables, banks, len(scores))
    found = milp(
        scores, integrality=np.ones(len(scores)), bounds=Bounds(0, 1), constraints=constraints
    )
    if found.x is None:
        return None
    chosen = dict(one for one, value in zip(variables, found.x, strict=False) if value > 0.5)
    return float(found.fun), tuple(chosen[group] for group in range(len(own)))


def _joining(
    variables: Sequence[tuple[int, int]], banks: Sequence[Family], width: int
) -> list[LinearConstraint]:
    """Whoever joins a bank has it paid."""
    rows = lil_array((len(variables), width))
    for place, (group, number) in enumerate(variables):
        for bank, family in enumerate(banks):
            if number == JOINED and group in family.joined:
                rows[place, place], rows[place, len(variables) + bank] = 1, -1
    return [LinearConstraint(rows.tocsr(), -np.inf, 0)] if banks else []
