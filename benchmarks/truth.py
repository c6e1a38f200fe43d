"""What is true of the plans of a table of ShareBench, and how near to it a search can come.

True is the mean over the table's seeds. Scored is the hypervolume in log-parameters and validation
accuracy, up to the reference point in the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.tabular import TabularEvaluator
from isoshare.search.pareto import hypervolume, nondominated
from isoshare.search.workflows.preparation.tabular import table_space

Numbers = NDArray[np.float64]
Point = tuple[float, float]
CEILINGS = 30
"""Searches with the true ranking, each with luck of its own."""


@cache
def truth_of(name: str) -> tuple[dict[str, Point], Point]:
    """For each fingerprint the mean accuracy and the parameters; and the reference point."""
    table = Table.load(name)
    space = table_space(table)
    means = table.accuracy("validation")[:, :, -1].mean(axis=1)
    found = {
        plan.fingerprint: (float(mean), float(space.trainable_parameters(plan)))
        for plan, mean in zip(table.plans, means, strict=True)
    }
    reference = table.conditions["reference"]
    return found, (reference["accuracy"], reference["parameters"])


def true_front(name: str) -> tuple[float, float]:
    """The score of the true front up to the reference point, and down to no accuracy at all."""
    truth, reference = truth_of(name)
    points = list(truth.values())
    return score(points, reference), score(points, (0.0, reference[1]))


def score(points: list[Point], reference: Point) -> float:
    """The hypervolume of (accuracy, parameters) points in log-parameters."""
    if not points:
        return 0.0
    minimised = np.array([(-accuracy, math.log(cost)) for accuracy, cost in points])
    return hypervolume(minimised, [-reference[0], math.log(reference[1])])


def shown(measured: list[Point]) -> list[int]:
    """Which of some plans a search shows as its front, by what it has measured of them."""
    return nondominated(np.array([(-accuracy, cost) for accuracy, cost in measured]))


@cache
def best_order(name: str) -> list[str]:
    """The plans of the true front, each the one that adds most hypervolume to those before it."""
    truth, reference = truth_of(name)
    points = np.array([(-accuracy, cost) for accuracy, cost in truth.values()])
    names = list(truth)
    left, found = [names[place] for place in nondominated(points)], list[str]()
    while left:
        there = [truth[one] for one in found]
        best = max(left, key=lambda one: score([*there, truth[one]], reference))
        left.remove(best)
        found.append(best)
    return found


def ceiling(name: str, budgets: Sequence[int]) -> dict[str, dict[int, Numbers]]:
    """What a search with the true ranking reaches, shares of the true front's hypervolume by
    budget, one a search: of the plans that it finds, and of the front that it shows.

    It measures the plans of the true front, best first, and nothing else; which of them are on its
    front it has to tell from one seed each, as every search.
    """
    table, (truth, reference) = Table.load(name), truth_of(name)
    plans, best = {plan.fingerprint: plan for plan in table.plans}, true_front(name)[0]
    order = best_order(name)
    found: dict[str, dict[int, Numbers]] = {"found": {}, "shown": {}}
    for budget in budgets:
        first = order[:budget]
        true = score([truth[one] for one in first], reference) / best
        found["found"][budget] = np.full(CEILINGS, true)
        seen = []
        for seed in range(CEILINGS):
            measure = TabularEvaluator(table, seed)
            answers = [next(measure(plans[one], (seed,), "validation"))[0] for one in first]
            points = [
                (answer.values["accuracy"], truth[one][1])
                for one, answer in zip(first, answers, strict=True)
            ]
            front = [truth[first[place]] for place in shown(points)]
            seen.append(score(front, reference) / best)
        found["shown"][budget] = np.array(seen)
    return found
