"""What is believed of the accuracy of plans: Bayesian linear regression on their features.

Three things make a measured accuracy: a linear function of the features, an effect of the plan that
the features do not explain, and the luck of its seeds. Mean and uncertainty of the first come from
scikit-learn's BayesianRidge (MacKay 1992, Neural Computation 4(3)); how the rest divides between
the second and the third is known from plans that were measured with several seeds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

PRIOR_WEIGHT = 4.0
"""The guess that the rest is half luck counts as so many differences between seeds."""
PRIOR = {"alpha_1": 2.0, "alpha_2": 1.0, "lambda_1": 2.0, "lambda_2": 0.03}
"""What is expected of noise and coefficients, in units of the spread of the accuracies: with less
than some twenty plans the data alone do not say (docs/decisions.md)."""
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Prediction:
    """Means and standard deviations of the expected accuracy of plans, each (plans,)."""

    mean: Numbers
    std: Numbers


class Surrogate:
    """Fitted once to all that is known.

    features: (plans, features); weights: how much each feature is expected to say, (features,);
    means: of each plan over its seeds; counts: how many seeds; seed_variance: the variance between
    seeds of one plan, and how many differences it is known from. slope: what the last feature, if
    it is a prior mean of the accuracy, is multiplied with for that; the rest is fitted beside it.
    """

    def __init__(  # noqa: PLR0913, PLR0917  all that is known
        self,
        features: Numbers,
        weights: Numbers,
        means: Numbers,
        counts: Numbers,
        seed_variance: tuple[float, float],
        slope: float = 0.0,
    ) -> None:
        from sklearn.linear_model import (
            BayesianRidge,  # two seconds that other samplers do not need
        )

        self._slope = slope
        means = means - self._prior(features)
        self._center = features.mean(axis=0)
        spread = features.std(axis=0)
        self._scale = (
            np.where(spread > 0, spread, np.inf) / weights
        )  # a constant feature says nothing yet
        self._level = float(means.mean())
        self._unit = float(means.std()) or 1.0
        model = BayesianRidge(fit_intercept=False, **PRIOR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all that is wrong with few points shows in the noise
            model.fit(self._scaled(features), (means - self._level) / self._unit, counts)
        self._weights: Numbers = model.coef_
        self._covariance: Numbers = model.sigma_
        rest = float(self._unit**2 / model.alpha_)  # of a single seed: weights are seeds
        variance, known = seed_variance
        seed_noise = (variance * known + PRIOR_WEIGHT * rest / 2) / (known + PRIOR_WEIGHT)
        self.seed_noise = max(seed_noise, LEAST_VARIANCE)
        self.of_plan = max(rest - seed_noise, rest / 20)

    def predict(self, features: Numbers) -> Prediction:
        """Of plans that have not been measured."""
        mean, variance = self._regression(features)
        return Prediction(mean, np.sqrt(variance + self.of_plan))

    def difference(self, features: Numbers, base: Numbers) -> Prediction:
        """What the features alone say that plans are better than a base plan: (plans, features)
        less (1, features). Values as the objective was given, not negated.
        """
        apart = (features - base) / self._scale
        variance = self._unit**2 * np.einsum("ij,ij->i", apart @ self._covariance, apart)
        return Prediction(self._unit * apart @ self._weights, np.sqrt(variance))

    def condition(self, features: Numbers, means: Numbers, counts: Numbers) -> Prediction:
        """Of measured plans: between what was measured and what the features say.

        Row by row: among other rows one would be rounded differently, and a search that is resumed
        must believe the same of each plan as one that believed it step by step.
        """
        each = [self._regression(features[place : place + 1]) for place in range(len(features))]
        mean, variance = np.concatenate(each, axis=1)
        before = variance + self.of_plan
        trust = before / (before + self.seed_noise / counts)
        return Prediction(mean + trust * (means - mean), np.sqrt((1 - trust) * before))

    def sample(self, features: Numbers, count: int, rng: np.random.Generator) -> Numbers:
        """Accuracies of unmeasured plans that may be true together, (draws, plans)."""
        root = np.linalg.cholesky(self._covariance + 1e-12 * np.eye(len(self._covariance)))
        weights = self._weights + rng.standard_normal((count, len(self._weights))) @ root.T
        common = self._level + self._unit * weights @ self._scaled(features).T
        own: Numbers = rng.standard_normal(common.shape) * np.sqrt(self.of_plan)
        return common + own + self._prior(features)

    def _regression(self, features: Numbers) -> tuple[Numbers, Numbers]:
        scaled = self._scaled(features)
        mean = self._level + self._unit * scaled @ self._weights + self._prior(features)
        variance = self._unit**2 * np.einsum("ij,ij->i", scaled @ self._covariance, scaled)
        return mean, variance

    def _prior(self, features: Numbers) -> Numbers:
        """What is expected of plans beforehand."""
        return self._slope * features[:, -1] if self._slope else np.zeros(len(features))

    def _scaled(self, features: Numbers) -> Numbers:
        scaled: Numbers = (features - self._center) / self._scale
        return scaled
