"""The history of a search as numbers, and what the surrogate makes of them."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

import numpy as np
from numpy.typing import NDArray

from evaluators.objectives import OBJECTIVES
from search.results.pareto import Axis
from search.samplers.history import History
from search.samplers.plan_features import PlanFeatures
from search.samplers.surrogate import Belief, Surrogate
from space.plan import SharingPlan
from storage.records import TrialRecord

Numbers = NDArray[np.float64]

FITTED_EXACTLY = 200
"""Up to so many measured plans each new one makes a new fit; beyond, each new percent."""
MOST_FITTED = 2_000
"""Of more plans a random choice is fitted: the rest would not change what is believed."""
PAIRS = 5
"""Plans measured at a rung and at the end that are needed to tell one from the other."""


@dataclass(frozen=True)
class Evidence:
    """The plans of a study and what is believed of them.

    measured: with their ``costs`` (logarithms) and ``belief``, larger values are better;
    pending: those that are being measured.
    """

    measured: list[SharingPlan]
    costs: Numbers
    belief: Belief
    pending: list[SharingPlan]
    surrogate: Surrogate | None


@dataclass(frozen=True)
class _Sample:
    """What was measured of one plan: a mean, worth so many seeds."""

    plan: SharingPlan
    mean: float
    seeds: float


class Beliefs:
    """Fits the surrogate when there is something new to fit it to."""

    def __init__(self, history: History, measured: Axis, exact: Axis) -> None:
        self._history = history
        self._axis = measured
        self._exact = exact.name
        self._features = PlanFeatures(history.space)
        self._fitted: tuple[object, Surrogate] | None = None
        self._known_costs: dict[SharingPlan, float] = {}

    def evidence(self) -> Evidence:
        """All that is known now."""
        trials = self._history.trials.values()
        samples = self._samples(list(trials))
        plans = [sample.plan for sample in samples]
        means = np.array([sample.mean for sample in samples])
        counts = np.array([sample.seeds for sample in samples])
        pending = [trial.plan for trial in trials if trial.state == "running"]
        if len(samples) < 2:
            return Evidence(plans, np.zeros(len(plans)), Belief(means, means), pending, None)
        surrogate = self._surrogate(plans, means, counts)
        belief = surrogate.seen(self._features(plans), means, counts)
        return Evidence(plans, self._costs(plans), belief, pending, surrogate)

    def of(self, evidence: Evidence, plans: Sequence[SharingPlan]) -> tuple[Numbers, Belief]:
        """Costs of plans that have not been measured, and what is believed of them."""
        assert evidence.surrogate is not None, "nothing is believed before something is measured"
        return self._costs(plans), evidence.surrogate.unseen(self._features(plans))

    def draws(
        self, evidence: Evidence, plans: Sequence[SharingPlan], count: int, rng: random.Random
    ) -> tuple[Numbers, Numbers]:
        """Costs of the measured plans and of ``plans``, and accuracies that may be true."""
        assert evidence.surrogate is not None, "nothing is believed before something is measured"
        numbers = np.random.default_rng(rng.getrandbits(32))
        belief = evidence.belief
        noise = numbers.standard_normal((count, len(belief.mean)))
        costs, known = evidence.costs, belief.mean + belief.deviation * noise
        if not plans:
            return costs, known
        new = evidence.surrogate.draws(self._features(plans), count, numbers)
        return np.append(costs, self._costs(plans)), np.hstack([known, new])

    def _costs(self, plans: Sequence[SharingPlan]) -> Numbers:
        return np.array([self._cost(plan) for plan in plans])

    def _cost(self, plan: SharingPlan) -> float:
        if plan not in self._known_costs:
            exact = OBJECTIVES[self._exact].exact
            assert exact is not None, "the sampler has checked it"
            self._known_costs[plan] = math.log(exact(self._history.space, plan))
        return self._known_costs[plan]

    def _surrogate(
        self, plans: Sequence[SharingPlan], means: Numbers, counts: Numbers
    ) -> Surrogate:
        """Fitted to the first so many plans, so that it is the same after a resume."""
        first = len(plans)
        if first > FITTED_EXACTLY:
            step = max(1, first // 100)
            first -= first % step
        key = (first, float(counts[:first].sum()), float(means[:first].sum()))
        if self._fitted is None or self._fitted[0] != key:
            chosen = list(range(first))
            if first > MOST_FITTED:
                chosen = random.Random(first).sample(chosen, MOST_FITTED)
            features = self._features([plans[place] for place in chosen])
            known = self._seed_variance()
            fitted = Surrogate(
                features, self._features.weights, means[chosen], counts[chosen], known
            )
            self._fitted = (key, fitted)
        return self._fitted[1]

    def _seed_variance(self) -> tuple[float, float]:
        """Pooled over the plans that have several seeds, and from how many differences."""
        total, known = 0.0, 0
        for trial in self._history.trials.values():
            samples = trial.samples(self._axis.name) if trial.state == "finished" else []
            if len(samples) > 1:
                total += variance(samples) * (len(samples) - 1)
                known += len(samples) - 1
        return total / max(known, 1), float(known)

    def _samples(self, trials: Sequence[TrialRecord]) -> list[_Sample]:
        found, early = [], []
        for trial in trials:
            values = trial.samples(self._axis.name)
            if trial.state == "finished" and values:
                mean = -self._axis.sign * fmean(values)
                found.append(_Sample(trial.plan, mean, len(values)))
            elif trial.state == "stopped":
                early.append(trial)
        return found + self._extrapolated(trials, early)

    def _extrapolated(
        self, trials: Sequence[TrialRecord], early: Sequence[TrialRecord]
    ) -> list[_Sample]:
        """What trials that were stopped would have come to, as a part of a seed each."""
        if not early:
            return []
        pairs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for trial in trials:
            if trial.state == "finished":
                final = trial.value(self._axis.name)
                for epoch, value in _rungs(trial, self._axis.name).items():
                    if final is not None:
                        pairs[epoch].append((value, final))
        lines = {epoch: _line(both) for epoch, both in pairs.items() if len(both) >= PAIRS}
        found = []
        for trial in early:
            known = _rungs(trial, self._axis.name)
            last = max((epoch for epoch in known if epoch in lines), default=None)
            if last is not None:
                slope, level, trust = lines[last]
                mean = -self._axis.sign * (level + slope * known[last])
                found.append(_Sample(trial.plan, mean, trust))
        return found


def _rungs(trial: TrialRecord, objective: str) -> dict[int, float]:
    """The mean of what was measured after each number of epochs."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for one in trial.measurements:
        if one.split == "validation" and objective in one.values:
            found[one.fidelity.get("epochs", 0)].append(one.values[objective])
    return {epoch: fmean(values) for epoch, values in found.items()}


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Slope and level of the final value over the early one, and how much of it that explains."""
    early, final = np.array(pairs).T
    spread = float(np.var(early))
    slope = float(np.mean((early - early.mean()) * (final - final.mean()))) / (spread + 1e-12)
    explained = slope**2 * spread / (float(np.var(final)) + 1e-12)
    return slope, float(final.mean() - slope * early.mean()), float(np.clip(explained, 0.01, 1))
