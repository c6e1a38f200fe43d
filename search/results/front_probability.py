"""How likely each plan of the front is on the true one, given the noise of its measurements.

Seeds of one plan differ; how much is pooled over the plans of the front. Accuracies are drawn
around the means, for all plans together; the share of draws in which no plan that costs at most as
much is better is the probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isoshare.search.pareto import Axis, pooled_variance
from isoshare.search.results.study_results import Results
from isoshare.storage.records import TrialRecord

DRAWS = 400

Numbers = NDArray[np.float64]


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
    usual = results.study.config.replicates
    compared = sorted(results.compared, key=lambda one: cost.sign * (one.value(cost.name) or 0))
    costs = np.array([cost.sign * (one.value(cost.name) or 0) for one in compared])
    means = np.array([-value.sign * (one.value(value.name) or 0) for one in compared])
    errors = spread / np.sqrt([seeds.get(one.number, usual) for one in compared])
    places = {one.number: place for place, one in enumerate(compared)}
    members = [places[trial.number] for trial in front.members]
    shares = _shares(costs, means, errors, members)
    return {compared[place].number: share for place, share in zip(members, shares, strict=True)}


def _shares(costs: Numbers, means: Numbers, errors: Numbers, members: list[int]) -> list[float]:
    """The share of draws in which each member is the best of all that cost at most as much."""
    rng, noise = np.random.default_rng(0), np.empty(len(means))
    last = np.searchsorted(costs, costs[members], side="right") - 1  # equal costs count too
    wins = np.zeros(len(members))
    for _ in range(DRAWS):  # one at a time: thousands of plans are too much for a cache at once
        drawn = means + errors * rng.standard_normal(out=noise)
        wins += drawn[members] >= np.maximum.accumulate(drawn)[last]
    return [float(share) for share in wins / DRAWS]


def _is_noisy(axis: Axis, members: tuple[TrialRecord, ...]) -> bool:
    return any(len(trial.samples(axis.name)) > 1 for trial in members)
