"""The plan within any budget that is expected to be best of all variants of a backbone.

Scores are comparable within one network alone: they are in units of its own outputs. So two plans
of each variant are trained alike and measured, the unshared and the fully shared one, and what lies
between is expected where its score lies between theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from isoshare.search.constraints import Constraint
from isoshare.search.solver.plan_solver import PlanSolver, Solved
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import Variant


@dataclass(frozen=True)
class Ends:
    """The accuracy of a variant as it is, and fully shared."""

    unshared: float
    shared: float


class VariantSolver:
    """Solves in each variant, and compares by the accuracy that is expected.

    solvers: of each variant with its own scores.
    """

    def __init__(self, solvers: Mapping[Variant, PlanSolver], ends: Mapping[Variant, Ends]) -> None:
        self._solvers, self._ends = solvers, ends

    def solve(self, limits: Sequence[Constraint]) -> Solved:
        """The plan of the highest expected accuracy that keeps all limits. Raises IsoshareError if
        no variant has one; the sentence is that of the variant with the smallest plan.
        """
        found: list[tuple[float, Solved]] = []
        refused: dict[Variant, IsoshareError] = {}
        for variant, solver in self._solvers.items():
            try:
                found.append(self._expected(solver.solve(limits)))
            except IsoshareError as error:
                refused[variant] = error
        if not found:
            raise refused[min(refused, key=self._smallest)]
        return max(found, key=lambda pair: (pair[0], -pair[1].cost))[1]

    def front(self, objective: str = "parameters") -> list[Solved]:
        """The plans that are expected to be best for what they cost, by rising cost."""
        fronts = (solver.front(objective) for solver in self._solvers.values())
        every = [self._expected(one) for front in fronts for one in front]
        best: list[Solved] = []
        highest = -math.inf
        for accuracy, one in sorted(every, key=lambda pair: (pair[1].cost, -pair[0])):
            if accuracy > highest:
                highest = accuracy
                best.append(one)
        return best

    def _expected(self, solved: Solved) -> tuple[float, Solved]:
        """The accuracy of a plan: what sharing costs, if it costs anything, in proportion to the
        score; and the plan with it.
        """
        variant = solved.plan.variant
        ends, whole = self._ends[variant], self._solvers[variant].fully_shared
        part = solved.score / whole if whole > 0 else 0.0
        lost = max(0.0, ends.unshared - ends.shared)
        accuracy = ends.unshared - part * lost
        return accuracy, replace(solved, accuracy=accuracy)

    def _smallest(self, variant: Variant) -> int:
        space = self._solvers[variant].space
        return space.trainable_parameters(space.smallest_plan)
