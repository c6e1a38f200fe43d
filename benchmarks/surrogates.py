"""Which regression foresees the accuracy of plans from few trainings? On a table of ShareBench.

    python benchmarks/surrogates.py [--table sharebench-digits] [--draws 6]

Some plans are drawn, each with one of the table's seeds, and a model is fitted to their features;
for all other plans Spearman's correlation of what it foresees with the mean over the seeds. Prints
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern, WhiteKernel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.sharebench import Table
from isoshare.search.samplers.plan_features import PlanFeatures
from isoshare.search.samplers.surrogate import Surrogate
from isoshare.search.workflows.preparation.tabular import table_space

Numbers = NDArray[np.float64]
Foresee = Callable[[Numbers, Numbers, Numbers], Numbers]
TRAINED = (15, 25, 50, 100, 200)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="sharebench-digits")
    parser.add_argument("--draws", type=int, default=6)
    options = parser.parse_args()
    table = Table.load(options.table)
    features = PlanFeatures(table_space(table))
    rows = features(table.plans)
    accuracy = table.accuracy("validation")[:, :, -1]
    models = models_of(features.weights)
    found = {
        name: {count: compared(model, rows, accuracy, count, options.sample) for count in TRAINED}
        for name, model in track(list(models.items()), console=Console(stderr=True))
    }
    print(json.dumps({"features": rows.shape[1], "draws": options.sample, **found}, indent=2))


def models_of(weights: Numbers) -> dict[str, Foresee]:
    """By name: what is foreseen for the last rows from features and accuracies of the first."""
    length = len(weights) ** 0.5
    white = WhiteKernel(1.0)
    linear = ConstantKernel(0.1 / len(weights)) * DotProduct(1e-5, "fixed")
    return {
        "ours": lambda x, y, z: ridge(x, y, z, weights),
        "ours, pairs weigh as the rest": lambda x, y, z: ridge(x, y, z, np.ones_like(weights)),
        "GP, RBF": gaussian(ConstantKernel(1.0) * RBF(length) + white),
        "GP, linear and RBF": gaussian(linear + ConstantKernel(0.5) * RBF(length) + white),
        "GP, Matern 3/2": gaussian(ConstantKernel(1.0) * Matern(length, nu=1.5) + white),
        "random forest": forest,
    }


def ridge(known: Numbers, accuracy: Numbers, others: Numbers, weights: Numbers) -> Numbers:
    """The surrogate of the default sampler."""
    made = Surrogate(known, weights, accuracy, np.ones(len(known)), (0.0, 0.0))
    return made.predict(others).mean


def gaussian(kernel: Any) -> Foresee:
    """A Gaussian process on standardised features."""

    def foresee(known: Numbers, accuracy: Numbers, others: Numbers) -> Numbers:
        center, spread = known.mean(axis=0), known.std(axis=0)
        scale = np.where(spread > 0, spread, np.inf)
        model = GaussianProcessRegressor(kernel, normalize_y=True)
        model.fit((known - center) / scale, accuracy)
        foreseen: Numbers = model.predict((others - center) / scale)
        return foreseen

    return foresee


def forest(known: Numbers, accuracy: Numbers, others: Numbers) -> Numbers:
    """200 trees."""
    model = RandomForestRegressor(200, min_samples_leaf=3, random_state=0).fit(known, accuracy)
    foreseen: Numbers = model.predict(others)
    return foreseen


def compared(
    model: Foresee, rows: Numbers, accuracy: Numbers, count: int, sample: int
) -> dict[str, float]:
    """The mean correlation over draws, its standard error, and milliseconds a fit."""
    found, seconds = [], 0.0
    for draw in range(sample):
        numbers = np.random.default_rng(draw)
        order = numbers.permutation(len(rows))
        known, others = order[:count], order[count:]
        condition = accuracy[known, numbers.integers(0, accuracy.shape[1], count)]
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bounds of kernels
            foreseen = model(rows[known], condition, rows[others])
        seconds += time.perf_counter() - started
        found.append(spearmanr(foreseen, accuracy[others].mean(axis=1)).statistic)
    return {
        "spearman": round(float(np.mean(found)), 3),
        "error": round(float(np.std(found, ddof=1) / sample**0.5), 3),
        "ms": round(1000 * seconds / sample, 1),
    }


if __name__ == "__main__":
    main()
