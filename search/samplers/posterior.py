"""The history of a search as numbers, and what the surrogate makes of them."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from isoshare.evaluators.objectives import OBJECTIVES, Cost
from isoshare.search.pareto import Axis, pooled_variance, values_by_epoch
from isoshare.search.proposals.sampler import History
from isoshare.search.samplers.plan_features import PlanFeatures
from isoshare.search.samplers.score_prior import ScorePrior
from isoshare.search.samplers.surrogate import Prediction, Surrogate
from isoshare.space.plan import SharingPlan
from isoshare.storage.records import TrialRecord

Numbers = NDArray[np.float64]

FITTED_EXACTLY = 200
"""Up to so many measured plans each new one makes a new fit; beyond, each new percent."""
MOST_FITTED = 2_000
"""Of more plans a random choice is fitted: the rest would not change what is believed."""
UNSAID = 1e-9
"""The weight of the prior mean among the features, which shall not explain it a second time."""
PAIRS = 5
"""Plans measured at a rung and at the end that are needed to tell one from the other."""


@dataclass(frozen=True)
class Observations:
    """The plans of a study and what is believed of them.

    measured: with their ``costs`` (logarithms; (plans,), or (plans, 2) of two exact objectives) and
    ``belief``, larger values are better;
    pending: those that are being measured.
    """

    measured: list[SharingPlan]
    costs: Numbers
    belief: Prediction
    pending: list[SharingPlan]
    surrogate: Surrogate


@dataclass
class _Sample:
    """What was measured of one plan: a mean, worth so many seeds; and what it costs.

    values: of each seed, where it was trained to the end;
    by: the surrogate that made ``believed``, mean and standard deviation, of it.
    """

    plan: SharingPlan
    mean: float
    seeds: float
    cost: tuple[float, ...]
    values: Sequence[float] = ()
    by: Surrogate | None = None
    believed: tuple[float, float] = (0.0, 0.0)


class Posterior:
    """Fits the surrogate when there is something new to fit it to.

    least: the number of measured plans below which nothing is believed, at least 2.
    """

    def __init__(self, history: History, measured: Axis, exact: Sequence[Axis], least: int) -> None:
        self._history = history
        self._least = least
        self._axis = measured
        self._exact = [_exact(axis) for axis in exact]
        self._features = PlanFeatures(history.space)
        self._prior = ScorePrior(history.foresight.scores) if history.foresight else None
        self._weights = self._features.weights
        if self._prior:
            self._weights = np.append(self._weights, UNSAID)
        self._fitted: tuple[object, Surrogate] | None = None
        self._known: dict[int, tuple[TrialRecord, _Sample]] = {}

    def evidence(self) -> Observations | None:
        """All that is known now; None while that is too little."""
        trials = self._history.trials.values()
        samples = self._samples(trials)
        if len(samples) < self._least:
            return None
        plans = [sample.plan for sample in samples]
        means = np.array([sample.mean for sample in samples])
        counts = np.array([sample.seeds for sample in samples])
        pending = [trial.plan for trial in trials if trial.state == "running"]
        surrogate = self._surrogate(samples, means, counts)
        costs = self._array([sample.cost for sample in samples])
        return Observations(plans, costs, self._conditioned(surrogate, samples), pending, surrogate)

    def of(
        self, evidence: Observations, plans: Sequence[SharingPlan]
    ) -> tuple[Numbers, Prediction]:
        """Costs of plans that have not been measured, and what is believed of them."""
        return self._costs(plans), evidence.surrogate.predict(self._columns(plans))

    def sample(
        self, evidence: Observations, plans: Sequence[SharingPlan], count: int, rng: random.Random
    ) -> tuple[Numbers, Numbers]:
        """Costs of the measured plans and of ``plans``, and accuracies that may be true."""
        numbers = np.random.default_rng(rng.getrandbits(32))
        belief = evidence.belief
        noise = numbers.standard_normal((count, len(belief.mean)))
        costs, known = evidence.costs, belief.mean + belief.std * noise
        if not plans:
            return costs, known
        more = self._costs(plans)
        new = evidence.surrogate.sample(self._columns(plans), count, numbers)
        return np.concatenate([costs, more]), np.hstack([known, new])

    def _conditioned(self, surrogate: Surrogate, samples: Sequence[_Sample]) -> Prediction:
        """What is believed of measured plans; asked anew only where something is new."""
        new = [sample for sample in samples if sample.by is not surrogate]
        if new:
            means = np.array([sample.mean for sample in new])
            seeds = np.array([sample.seeds for sample in new])
            belief = surrogate.condition(self._columns([one.plan for one in new]), means, seeds)
            for sample, mean, std in zip(new, belief.mean, belief.std, strict=True):
                sample.by, sample.believed = surrogate, (mean, std)
        believed = np.array([sample.believed for sample in samples])
        return Prediction(believed[:, 0], believed[:, 1])

    def _costs(self, plans: Sequence[SharingPlan]) -> Numbers:
        return self._array([self._cost(plan) for plan in plans])

    def _array(self, costs: Sequence[tuple[float, ...]]) -> Numbers:
        """A column for each exact objective; of one alone, plain numbers."""
        table = np.array(costs).reshape(len(costs), len(self._exact))
        return table[:, 0] if len(self._exact) == 1 else table

    def _cost(self, plan: SharingPlan) -> tuple[float, ...]:
        return tuple(math.log(exact(self._history.space, plan)) for exact in self._exact)

    def _surrogate(self, samples: Sequence[_Sample], means: Numbers, counts: Numbers) -> Surrogate:
        """Fitted to the first so many plans, so that it is the same after a resume."""
        first = len(samples)
        if first > FITTED_EXACTLY:
            step = max(1, first // 100)
            first -= first % step
        key = (first, float(counts[:first].sum()), float(means[:first].sum()))
        if self._fitted is None or self._fitted[0] != key:
            chosen = list(range(first))
            if first > MOST_FITTED:
                chosen = random.Random(first).sample(chosen, MOST_FITTED)
            features = self._columns([samples[place].plan for place in chosen])
            known = pooled_variance(sample.values for sample in samples[:first])
            told = (means[chosen], counts[chosen], known)
            fitted = Surrogate(features, self._weights, *told, self._slope(features, means[chosen]))
            self._fitted = (key, fitted)
        return self._fitted[1]

    def _columns(self, plans: Sequence[SharingPlan]) -> Numbers:
        """The features of plans; the last one is what a trained network foresees, if one does."""
        features = self._features(plans)
        if self._prior is None:
            return features
        return np.column_stack([features, self._prior(plans)])

    def _slope(self, features: Numbers, means: Numbers) -> float:
        return self._prior.slope(features[:, -1], means) if self._prior else 0.0

    def _samples(self, trials: Collection[TrialRecord]) -> list[_Sample]:
        found = [self._sample(trial) for trial in trials if trial.state == "finished"]
        early = [trial for trial in trials if trial.state == "stopped"]
        return found + self._extrapolated(trials, early)

    def _sample(self, trial: TrialRecord) -> _Sample:
        """Of a finished trial; made once for as long as the trial stays as it is."""
        known = self._known.get(trial.number)
        if known is None or known[0] is not trial:
            values = trial.samples(self._axis.name)
            mean = -self._axis.sign * fmean(values)
            sample = _Sample(trial.plan, mean, len(values), self._cost(trial.plan), values)
            self._known[trial.number] = known = (trial, sample)
        return known[1]

    def _extrapolated(
        self, trials: Collection[TrialRecord], early: Sequence[TrialRecord]
    ) -> list[_Sample]:
        """What trials that were stopped would have come to, as a part of a seed each."""
        if not early:
            return []
        pairs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for trial in trials:
            if trial.state == "finished":
                final = trial.value(self._axis.name)
                for epoch, value in values_by_epoch(trial, self._axis.name).items():
                    if final is not None:
                        pairs[epoch].append((value, final))
        lines = {epoch: _line(both) for epoch, both in pairs.items() if len(both) >= PAIRS}
        found = []
        for trial in early:
            known = values_by_epoch(trial, self._axis.name)
            last = max((epoch for epoch in known if epoch in lines), default=None)
            if last is not None:
                slope, level, trust = lines[last]
                mean = -self._axis.sign * (level + slope * known[last])
                found.append(_Sample(trial.plan, mean, trust, self._cost(trial.plan)))
        return found


def _exact(axis: Axis) -> Cost:
    exact = OBJECTIVES[axis.name].exact
    assert exact is not None, "the sampler has checked it"
    return exact


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Slope and level of the final value over the early one, and how much of it that explains."""
    early, final = np.array(pairs).T
    spread = float(np.var(early))
    slope = float(np.mean((early - early.mean()) * (final - final.mean()))) / (spread + 1e-12)
    explained = slope**2 * spread / (float(np.var(final)) + 1e-12)
    return slope, float(final.mean() - slope * early.mean()), float(np.clip(explained, 0.01, 1))
