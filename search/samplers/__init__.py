"""SAMPLERS: who proposes the next plan. One more sampler is one row here.

A row makes an Optuna sampler from a seed. Before each proposal it is seeded again by study and
trial number, so that a resumed search goes on as if it had never stopped; whatever else a sampler
has to know is in the trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from space.errors import IsoshareError, one_of

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    # Draws each site's partner evenly.
    "random": lambda seed: RandomSampler(seed=seed),
    # Deb et al. 2002; a population that a search of some dozen trials can turn over.
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=16),
    # Ozaki et al. 2022; constant_liar keeps parallel workers from proposing the same plan, group
    # models together what is asked together: the options of a method only where it is chosen.
    "tpe": lambda seed: TPESampler(
        seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10
    ),
}


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler of this name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[name](seed)


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Seed a sampler and the samplers within it anew.

    Optuna offers that only with a random seed. A new sampler for each proposal would do as well,
    but it compares the search space with every earlier trial, which was most of TPE's time.
    """
    for part in (sampler, *vars(sampler).values()):
        if isinstance(part, BaseSampler) and hasattr(part, "_rng"):
            part._rng.rng.seed(seed)


def check_sampler(name: str) -> None:
    """Raise IsoshareError for an unknown sampler."""
    if name not in SAMPLERS:
        raise IsoshareError(one_of("sampler", name, SAMPLERS))
