"""The plan of the lowest score within any budget, from scores that were measured once.

A plan's score, and what it costs, are sums over the groups of a network, so each group is asked for
its options and these are combined. With one budget groups are taken one after another, and of all
combinations so far those are kept that are best for what they cost: exact, and the whole front
comes with it. With several budgets it is a mixed integer program (search/solver/plan_program.py).

A network-wide method is tried with each set of options in turn: the groups of one kernel size that
join pay its fixed part once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoshare.evaluators.objectives import exact_values
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.search.constraints import Constraint, fits
from isoshare.search.solver.group_options import OptionMaker
from isoshare.search.solver.plan_fronts import JOINED, combined, family_front, group_front
from isoshare.search.solver.plan_program import best_places
from isoshare.space.choices.method_choices import MethodConfig
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace

ADDITIVE = ("parameters", "bytes", "macs", "device_bytes", "device_bytes_int8")
"""Objectives of which each bank adds or saves its own part, whatever the others are."""


def countable(space: SearchSpace) -> list[str]:
    """Those of ADDITIVE that this space can tell; one that an earlier version has recorded does not
    know what a device holds.
    """
    if not space.has_costs:
        return ["parameters"]
    return [name for name in ADDITIVE if space.costs.rest or not name.startswith("device")]


@dataclass(frozen=True)
class Solved:
    """A plan, its score, and the value of the objective that it was chosen by. accuracy: what is
    expected of it, where plans of several networks are compared.
    """

    plan: SharingPlan
    score: float
    cost: float
    accuracy: float | None = None


class _Row(NamedTuple):
    """A combination that is on the front, not yet made a plan of."""

    cost: float
    score: float
    offer: MethodConfig | None
    places: tuple[int, ...]


class PlanSolver:
    """Solves for one space and its scores; what does not depend on a budget is made once."""

    def __init__(self, space: SearchSpace, scores: PlanScores) -> None:
        self.space, self.scores = space, scores
        self._make = OptionMaker(space, scores, countable(space))
        self._own = [self._make.of_group(group) for group in space.group_spaces]
        self._families = {
            offer: [self._make.family(offer, places) for places in space.wide.families]
            for offer in (None, *space.wide.offers)
        }
        self._rows: dict[str, list[_Row]] = {}

    @property
    def fully_shared(self) -> float:
        """The score of the plan that shares all by the first of the methods."""
        return self._make.scores.plan(self.space.fully_shared_plan())

    def solve(self, limits: Sequence[Constraint]) -> Solved:
        """The plan of the lowest score that keeps all limits, upper ones of ADDITIVE objectives.

        Raises IsoshareError if none does; the sentence says what the smallest is.
        """
        for limit in limits:
            if limit.objective not in ADDITIVE:
                raise IsoshareError(
                    f"a plan is solved for budgets of {', '.join(ADDITIVE)}, not {limit.flag}"
                )
            if limit.objective not in countable(self.space):
                raise IsoshareError(
                    f"{limit.flag} needs what an input costs the network, which is counted where "
                    "inputs are one tensor: give a budget of parameters"
                )
        if len(limits) > 1:
            places = best_places(self._own, self._families, limits, self._make.unshared)
            rows = [] if places is None else [_Row(0.0, 0.0, *places)]
        else:
            rows = self._front(limits[0].objective if limits else "parameters")
        for row in reversed(rows):  # the first that fits is the best, but for what tidying changed
            plan = self._plan(row)
            if fits(limits, self.space, plan):
                return self._solved(plan, limits[0].objective if limits else "parameters")
        raise IsoshareError(self._too_little(limits))

    def front(self, objective: str = "parameters") -> list[Solved]:
        """The plans that are best for what they cost, from the cheapest to the dearest."""
        return [self._solved(self._plan(row), objective) for row in self._front(objective)]

    def _front(self, objective: str) -> list[_Row]:
        """By rising cost and falling score."""
        if objective not in self._rows:
            found = [
                _Row(float(cost), float(score), offer, tuple(choices.tolist()))
                for offer in self._families
                for cost, score, choices in self._combinations(offer, objective)
            ]
            rows: list[_Row] = []
            for row in sorted(found, key=lambda row: row[:2]):
                if not rows or row.score < rows[-1].score:
                    rows.append(row)
            self._rows[objective] = rows
        return self._rows[objective]

    def _combinations(
        self, offer: MethodConfig | None, objective: str
    ) -> Iterator[tuple[float, float, NDArray[np.int32]]]:
        """The best of all groups, where one network-wide offer may be joined."""
        own = [group_front(options, objective) for options in self._own]
        families = self._families[offer]
        front = combined(
            [family_front(one, [own[place] for place in one.places], objective) for one in families]
        )
        order = np.argsort([place for one in families for place in one.places])
        yield from zip(front.costs, front.scores, front.choices[:, order], strict=True)

    def _plan(self, row: _Row) -> SharingPlan:
        choices = []
        for place, (options, number) in enumerate(zip(self._own, row.places, strict=True)):
            if number == JOINED:
                assert row.offer is not None, "there is a bank to join"
                choices.append(self.space.wide.joined(row.offer, place))
            else:
                choices.append(options[number].choice)
        return self.space.plan_of(self.space.wide.tidy(choices))

    def _solved(self, plan: SharingPlan, objective: str) -> Solved:
        (cost,) = exact_values((objective,), self.space, plan).values()
        return Solved(plan, self._make.scores.plan(plan), cost)

    def _too_little(self, limits: Sequence[Constraint]) -> str:
        asked = " and ".join(limit.flag for limit in limits)
        least = [
            f"{self._solved(self._plan(self._front(one.objective)[0]), one.objective).cost:,} "
            f"{one.objective}"
            for one in limits
        ]
        return (
            f"no plan keeps {asked}: the smallest that can be has {' or '.join(least)}; raise the "
            "budget, or give more --methods"
        )
