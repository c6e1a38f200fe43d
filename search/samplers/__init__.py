"""SAMPLERS: who proposes the next plan. One more sampler is one row here.

Two kinds: samplers of plans, which look at what has been measured and choose a canonical plan; and
Optuna's, which know only vectors of choices. Before each proposal both are seeded by study and
trial number, so that a resumed search goes on as if it had never stopped; whatever else a sampler
has to know is in the trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from isoshare.search.samplers.expected_improvement import ImprovementSampler
from isoshare.search.samplers.history import History, PlanSampler
from isoshare.search.samplers.local_search import LocalSampler
from isoshare.search.samplers.random_plans import RandomSampler
from isoshare.space.errors import IsoshareError, one_of


@dataclass(frozen=True)
class SamplerRow:
    """One row of SAMPLERS: either ``plans``, called with the history of the search, or ``optuna``,
    called with a seed.
    """

    summary: str
    plans: Callable[[History], PlanSampler] | None = None
    optuna: Callable[[int], BaseSampler] | None = None


SAMPLERS: dict[str, SamplerRow] = {
    "ehvi": SamplerRow("expected hypervolume improvement over plans", plans=ImprovementSampler),
    "local": SamplerRow("a step away from a plan of the front", plans=LocalSampler),
    "random": SamplerRow("random plans", plans=RandomSampler),
    # Deb et al. 2002; a population that a search of some dozen trials can turn over.
    "nsga2": SamplerRow(
        "Optuna's NSGA-II", optuna=lambda seed: NSGAIISampler(seed=seed, population_size=16)
    ),
    # Ozaki et al. 2022; constant_liar keeps parallel workers from proposing the same plan, group
    # models together what is asked together: the options of a method only where it is chosen.
    "tpe": SamplerRow(
        "Optuna's tree of Parzen estimators",
        optuna=lambda seed: TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10
        ),
    ),
    # Several seconds a proposal after some hundred trials.
    "gp": SamplerRow("Optuna's Gaussian process", optuna=lambda seed: GPSampler(seed=seed)),
}


def sampler_row(name: str) -> SamplerRow:
    """The row of this name. Raises IsoshareError."""
    if name not in SAMPLERS:
        raise IsoshareError(one_of("sampler", name, SAMPLERS))
    return SAMPLERS[name]


def optuna_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler of Optuna that keeps the record of the search; for samplers of plans any."""
    make = SAMPLERS[name].optuna
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.RandomSampler(seed) if make is None else make(seed)


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Seed a sampler and the samplers within it anew.

    Optuna offers that only with a random seed. A new sampler for each proposal would do as well,
    but it compares the search space with every earlier trial, which was most of TPE's time.
    """
    for part in (sampler, *vars(sampler).values()):
        if isinstance(part, BaseSampler) and hasattr(part, "_rng"):
            part._rng.rng.seed(seed)
