"""What a trained network foresees as the prior mean of accuracies, for as long as that helps.

A plan's score times a slope is what is expected of it before it is measured, and the surrogate
learns the rest. The slope follows from how well scores and measurements agree in rank: believed at
first, then more and more what is seen, so that a score that misleads soon counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.space.plan import SharingPlan

Numbers = NDArray[np.float64]

ENOUGH, AGREED = 14, 0.9
"""Measured plans from which on a search does better without, unless their ranks agree so well with
what was foreseen (benchmarks/search_efficiency.py)."""
BELIEVED, BELIEF_WORTH = 0.5, 10
"""The correlation that is expected, and how many measured plans that belief is worth."""


class ScorePrior:
    """The scores of plans, as a feature, and its slope."""

    def __init__(self, scores: PlanScores) -> None:
        self._scores = scores
        self._known: dict[SharingPlan, float] = {}

    def __call__(self, plans: Sequence[SharingPlan]) -> Numbers:
        """Higher for plans that are expected to be better, (plans,)."""
        for plan in plans:
            if plan not in self._known:
                self._known[plan] = -self._scores.plan(plan)
        return np.array([self._known[plan] for plan in plans])

    def slope(self, foreseen: Numbers, means: Numbers) -> float:
        """Accuracy for a unit of the score, 0 where that is not needed any more or misleads.

        foreseen, means: of the measured plans, (plans,).
        """
        spread = float(foreseen.std())
        if spread == 0:
            return 0.0
        agreement = rank_correlation(foreseen, means)
        if len(means) >= ENOUGH and agreement < AGREED:
            return 0.0
        seen = len(means) * agreement
        trust = (BELIEF_WORTH * BELIEVED + seen) / (BELIEF_WORTH + len(means))
        return max(0.0, trust) * float(means.std()) / spread


def rank_correlation(one: Numbers, other: Numbers) -> float:
    """Spearman's, from -1 to 1; 0 where one of them does not vary."""
    ranks = np.array([np.searchsorted(np.sort(values), values) for values in (one, other)], float)
    return float(np.corrcoef(ranks)[0, 1]) if np.ptp(ranks, axis=1).all() else 0.0
