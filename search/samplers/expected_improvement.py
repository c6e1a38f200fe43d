"""The default sampler: the plan that is expected to add most hypervolume to the front.

One objective is measured, the other known beforehand. A surrogate that sees the partition says what
accuracy to expect of a plan and how sure that is; the expected improvement is exact
(search/samplers/ehvi.py). The front is that of the beliefs, not of the bare measurements, so
that luck does not count; running trials count with what is expected of them.
"""

from __future__ import annotations

import math
import random

import numpy as np

from isoshare.evaluators.objectives import is_known_exact
from isoshare.search.sampler import History, Sampler
from isoshare.search.samplers.candidates import Candidates
from isoshare.search.samplers.ehvi import ParetoFront2D, hypervolumes
from isoshare.search.samplers.local_search import LocalSampler
from isoshare.search.samplers.posterior import Observations, Posterior
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import SharingPlan

START = 12
"""Measured plans before the surrogate is asked; until then it goes by steps from the front, which
is as good and needs no belief (benchmarks/search_efficiency.py)."""
DRAWS = 128
"""Sets of accuracies that may be true, for the bound."""
COVERAGE = 0.95
"""The share of them in which no more than the bound is left to gain."""


class ImprovementSampler(Sampler):
    """Needs one measured objective and one that is exact. Raises IsoshareError for others."""

    def __init__(self, history: History) -> None:
        exact = [axis for axis in history.axes if is_known_exact(axis.name)]
        measured = [axis for axis in history.axes if axis not in exact]
        if len(exact) != 1 or len(measured) != 1:
            raise IsoshareError(
                "sampler 'ehvi' trades one measured objective against one that is known exactly, "
                f"got {','.join(axis.name for axis in history.axes)}: take --sampler tpe"
            )
        super().__init__(history)
        self._candidates = Candidates(history)
        self._steps = LocalSampler(history)
        self._beliefs = Posterior(history, measured[0], exact[0])
        self._reference = (
            math.log(exact[0].reference),
            -measured[0].sign * measured[0].reference,
        )

    def propose(self, number: int) -> SharingPlan | None:
        """The best candidate; None to leave it to chance."""
        evidence = self._beliefs.evidence()
        if len(evidence.measured) < START:
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
        if len(evidence.measured) < START:
            return None
        there = self._staircase(evidence, pending=False).hypervolume
        rng = random.Random(len(evidence.measured))
        plans = self._candidates((), rng)
        costs, values = self._beliefs.sample(evidence, plans, DRAWS, rng)
        possible = np.quantile(hypervolumes(costs, values, self._reference), COVERAGE)
        return max(0.0, float(possible) / there - 1) if there > 0 else None

    def _staircase(self, evidence: Observations, pending: bool = True) -> ParetoFront2D:
        costs, values = evidence.costs, evidence.belief.mean
        if pending and evidence.pending:
            more, expected = self._beliefs.of(evidence, evidence.pending)
            costs, values = np.append(costs, more), np.append(values, expected.mean)
        return ParetoFront2D.of(costs, values, self._reference)

    def _front(self, evidence: Observations) -> list[SharingPlan]:
        """The measured plans that are believed to be on the front."""
        order = np.lexsort((-evidence.belief.mean, evidence.costs))
        heights = np.maximum.accumulate(evidence.belief.mean[order])
        rises = np.diff(heights, prepend=-math.inf) > 0
        return [evidence.measured[place] for place in order[rises]]
