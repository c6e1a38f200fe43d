"""How likely each plan of the front is on the true one, given the noise of its measurements.

Seeds of one plan differ; how much is pooled over the plans of the front. Accuracies are drawn
around the means, for all plans together; the share of draws in which no plan that costs at most as
much is better is the probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import variance

import numpy as np

from search.results.pareto import Axis, Results
from storage.records import TrialRecord

DRAWS = 400


def on_front(results: Results) -> dict[int, float]:
    """The probability of each member, by number; none where nothing says how noisy seeds are, and
    where not exactly one of two objectives is noisy.
    """
    front = results.front
    noisy = [axis for axis in front.axes if _is_noisy(axis, front.members)]
    if len(front.axes) != 2 or len(noisy) != 1:
        return {}
    value = noisy[0]
    (cost,) = (axis for axis in front.axes if axis is not value)
    spread = pooled_variance(trial.samples(value.name) for trial in front.members)[0] ** 0.5
    seeds = {trial.number: len(trial.samples(value.name)) for trial in front.members}
    usual = int(results.study.config.get("replicates", 1))
    compared = sorted(results.compared, key=lambda one: cost.sign * (one.value(cost.name) or 0))
    costs = np.array([cost.sign * (one.value(cost.name) or 0) for one in compared])
    means = np.array([-value.sign * (one.value(value.name) or 0) for one in compared])
    errors = spread / np.sqrt([seeds.get(one.number, usual) for one in compared])
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(compared)))
    drawn = means + errors * noise
    # The best of all that cost at most as much: equal costs are compared with each other too.
    last = np.searchsorted(costs, costs, side="right") - 1
    best = np.maximum.accumulate(drawn, axis=1)[:, last]
    shares = (drawn >= best).mean(axis=0)
    members = {trial.number for trial in front.members}
    pairs = zip(compared, shares, strict=True)
    return {one.number: float(share) for one, share in pairs if one.number in members}


def _is_noisy(axis: Axis, members: tuple[TrialRecord, ...]) -> bool:
    return any(len(trial.samples(axis.name)) > 1 for trial in members)


def pooled_variance(samples: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The variance between seeds of one plan, over all plans that have several, and from how many
    differences it is known; samples: of each plan.
    """
    total, known = 0.0, 0
    for some in samples:
        if len(some) > 1:
            total += variance(some) * (len(some) - 1)
            known += len(some) - 1
    return total / max(known, 1), float(known)
