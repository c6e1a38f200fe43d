"""The default sampler: the plan that is expected to add most hypervolume to the front.

One objective is measured, one or two others are known beforehand. A surrogate that sees the
partition says what accuracy to expect of a plan and how sure that is; the expected improvement is
exact (search/samplers/ehvi.py, ehvi_two_costs.py). The front is that of the beliefs, not of the
bare measurements, so that luck does not count; running trials count with what is expected of them.
"""

from __future__ import annotations

import math
import random

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
        stairs = self._staircase(evidence)
        rng = random.Random(self._history.seed_of(number))
        candidates = self._candidates(self._front(evidence), rng)
        if not candidates:
            return None
        costs, belief = self._beliefs.of(evidence, candidates)
        gains = stairs.expected_improvement(costs, belief.mean, belief.std)
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
        there = self._staircase(evidence, pending=False).hypervolume
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

    def _staircase(
        self, evidence: Observations, pending: bool = True
    ) -> ParetoFront2D | ParetoFront3D:
        costs, values = evidence.costs, evidence.belief.mean
        if pending and evidence.pending:
            more, expected = self._beliefs.of(evidence, evidence.pending)
            costs, values = np.concatenate([costs, more]), np.append(values, expected.mean)
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
