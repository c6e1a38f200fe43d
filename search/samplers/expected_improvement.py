"""The default sampler: the plan that is expected to add most hypervolume to the front.

One objective is measured, one or two others are known beforehand. A surrogate that sees the
partition says what accuracy to expect of a plan and how sure that is; the expected improvement over
a front is exact (search/samplers/ehvi.py, ehvi_two_costs.py). Which front there is nobody knows:
measurements are noisy, and running trials have none yet. So the improvement is averaged over fronts
that may be true (Daulton et al. 2021, NeurIPS, arXiv 2105.08195): of several plans of one size that
may all be good one most likely is, and there is less to gain there than beside the best belief.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np

from isoshare.evaluators.objectives import is_known_exact
from isoshare.search.pareto import nondominated
from isoshare.search.proposals.sampler import History, Sampler
from isoshare.search.samplers.candidates import Candidates
from isoshare.search.samplers.ehvi import Numbers, ParetoFront2D, hypervolumes
from isoshare.search.samplers.ehvi_two_costs import ParetoFront3D, hypervolumes_of_two_costs
from isoshare.search.samplers.local_search import LocalSampler
from isoshare.search.samplers.posterior import Observations, Posterior
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import SharingPlan

START = 12
"""Measured plans before the surrogate is asked; until then it goes by steps from the front, which
is as good and needs no belief (benchmarks/search_efficiency.py)."""
FORESEEN_START = 6
"""The same where a trained network foresees what plans are worth."""
FRONTS = 16
"""Fronts that may be true, over which the improvement is averaged."""
DRAWS = 128
"""Sets of accuracies that may be true, for the bound."""
COVERAGE = 0.95
"""The share of them in which no more than the bound is left to gain."""


class ImprovementSampler(Sampler):
    """Needs one measured objective and one or two exact ones. Raises IsoshareError for others."""

    def __init__(self, history: History) -> None:
        exact = [axis for axis in history.axes if is_known_exact(axis.name)]
        measured = [axis for axis in history.axes if axis not in exact]
        if len(exact) not in (1, 2) or len(measured) != 1:
            raise IsoshareError(
                "sampler 'ehvi' trades one measured objective against one or two that are known "
                f"exactly, got {','.join(axis.name for axis in history.axes)}: take --sampler tpe"
            )
        super().__init__(history)
        self._candidates = Candidates(history)
        self._steps = LocalSampler(history)
        least = START if history.foresight is None else FORESEEN_START
        self._beliefs = Posterior(history, measured[0], exact, least)
        self._costs = [math.log(axis.reference) for axis in exact]
        self._floor = -measured[0].sign * measured[0].reference

    def propose(self, number: int) -> SharingPlan | None:
        """The best candidate; None to leave it to chance."""
        evidence = self._beliefs.evidence()
        if evidence is None:
            return self._steps.propose(number)
        rng = random.Random(self._history.seed_of(number))
        candidates = self._candidates(self._front(evidence), rng)
        if not candidates:
            return None
        costs, belief = self._beliefs.of(evidence, candidates)
        gains = np.zeros(len(candidates))
        for front in self._possible_fronts(evidence, rng):
            gains += front.expected_improvement(costs, belief.mean, belief.std)
        return candidates[int(gains.argmax())]

    def remaining(self) -> float | None:
        """A bound on the hypervolume still to be gained, as a share of what there is.

        In a small space over all plans, with 95 % confidence in the surrogate; unknown in a larger
        one, and while too little is known.
        """
        if not self._candidates.are_all:
            return None
        evidence = self._beliefs.evidence()
        if evidence is None:
            return None
        there = self._staircase(evidence.costs, evidence.belief.mean).hypervolume
        rng = random.Random(len(evidence.measured))
        plans = self._candidates((), rng)
        costs, values = self._beliefs.sample(evidence, plans, DRAWS, rng)
        possible = np.quantile(self._volumes(costs, values), COVERAGE)
        return max(0.0, float(possible) / there - 1) if there > 0 else None

    def _volumes(self, costs: Numbers, values: Numbers) -> Numbers:
        if len(self._costs) == 1:
            return hypervolumes(costs, values, (self._costs[0], self._floor))
        return hypervolumes_of_two_costs(
            costs, values, (self._costs[0], self._costs[1], self._floor)
        )

    def _possible_fronts(
        self, evidence: Observations, rng: random.Random
    ) -> Iterator[ParetoFront2D | ParetoFront3D]:
        """Of accuracies that the plans may have which are measured, or being measured."""
        costs, mean, std = evidence.costs, evidence.belief.mean, evidence.belief.std
        if evidence.pending:
            more, expected = self._beliefs.of(evidence, evidence.pending)
            costs = np.concatenate([costs, more])
            mean, std = np.append(mean, expected.mean), np.append(std, expected.std)
        numbers = np.random.default_rng(rng.getrandbits(32))
        for luck in numbers.standard_normal((FRONTS, len(mean))):
            yield self._staircase(costs, mean + std * luck)

    def _staircase(self, costs: Numbers, values: Numbers) -> ParetoFront2D | ParetoFront3D:
        if len(self._costs) == 1:
            return ParetoFront2D.of(costs, values, (self._costs[0], self._floor))
        return ParetoFront3D.of(costs, values, (self._costs[0], self._costs[1], self._floor))

    def _front(self, evidence: Observations) -> list[SharingPlan]:
        """The measured plans that are believed to be on the front."""
        if len(self._costs) == 2:
            points = np.column_stack([evidence.costs, -evidence.belief.mean])
            return [evidence.measured[place] for place in nondominated(points)]
        order = np.lexsort((-evidence.belief.mean, evidence.costs))
        heights = np.maximum.accumulate(evidence.belief.mean[order])
        rises = np.diff(heights, prepend=-math.inf) > 0
        return [evidence.measured[place] for place in order[rises]]
