"""The plans that scores expect to be best for what they cost."""

from __future__ import annotations

import numpy as np

from isoshare.evaluators.objectives import exact_values
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.search.pareto import nondominated
from isoshare.search.solver.plan_solver import PlanSolver, Solved
from isoshare.space.sampled_space import SampledSpace
from isoshare.space.search_space import SearchSpace


def predicted_front(
    space: SearchSpace, scores: PlanScores, objective: str = "parameters"
) -> list[Solved]:
    """From the cheapest to the dearest: of a sampled space those of its plans that are best, each
    looked at, as the best of the whole space need not be in it.
    """
    if not isinstance(space, SampledSpace):
        return PlanSolver(space, scores).front(objective)
    seen = [
        Solved(plan, scores.plan(plan), exact_values((objective,), space, plan)[objective])
        for plan in space.plans()
    ]
    points = np.array([(one.cost, one.score) for one in seen])
    return sorted((seen[place] for place in nondominated(points)), key=lambda one: one.cost)
