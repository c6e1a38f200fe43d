"""What drives the result of a search: which group hurts when it shares, and by which method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoshare.search.pareto import pooled_variance
from isoshare.search.results.study_results import Results
from isoshare.search.samplers.plan_features import PlanFeatures
from isoshare.search.samplers.surrogate import Surrogate
from isoshare.search.workflows.preparation.recorded_space import recorded_space, reference_of
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, describe_signature, isomorphic_groups
from isoshare.storage.records import TrialRecord

LEAST_TRIALS, MOST_TRIALS = 8, 2_000
"""Fewer plans say only what was assumed before them; of more the last ones are fitted."""


@dataclass(frozen=True)
class Effect:
    """What the first objective loses (or gains) when a whole group shares by one method, against
    the unshared network (of the variant that sizes are compared with): mean and standard deviation
    of what the surrogate believes. seen: plans that share in this group by this method.
    """

    group: str
    method: str
    mean: float
    std: float
    seen: int


def effects(results: Results) -> list[Effect]:
    """The effects of all groups and methods that some plan of the study has; empty if the study
    has too few plans to say.
    """
    axis, study = results.front.axes[0], results.study
    trials = [one for one in results.finished if one.samples(axis.name)][-MOST_TRIALS:]
    if len(trials) < LEAST_TRIALS:
        return []
    features, reference = PlanFeatures(recorded_space(study)), reference_of(study)
    surrogate = _fitted(trials, features, axis.name)
    trials = [trial for trial in trials if trial.plan.variant == reference]
    found = []
    for group in isomorphic_groups(study.context.sites):
        for method, banks in _banks_of(trials, group).items():
            bank = Bank(method, dict(banks[-1].options), _names(group))
            both = (SharingPlan(banks, reference) for banks in ((bank,), ()))
            gain = surrogate.difference(*(features([plan]) for plan in both))
            name = f"{describe_signature(group[0].signature)} ({len(group)} sites)"
            found.append(Effect(name, method, float(gain.mean[0]), float(gain.std[0]), len(banks)))
    return found


def _fitted(trials: Sequence[TrialRecord], features: PlanFeatures, objective: str) -> Surrogate:
    values = [trial.samples(objective) for trial in trials]
    means = np.array([np.mean(one) for one in values])
    counts = np.array([float(len(one)) for one in values])
    matrix = features([trial.plan for trial in trials])
    return Surrogate(matrix, features.weights, means, counts, pooled_variance(values))


def _banks_of(trials: Sequence[TrialRecord], group: Sequence[Site]) -> dict[str, list[Bank]]:
    """The banks within a group that some plan has, by method."""
    names, found = set(_names(group)), dict[str, list[Bank]]()
    for trial in trials:
        for bank in trial.plan.banks:
            if names.issuperset(bank.sites):
                found.setdefault(bank.method, []).append(bank)
    return found


def _names(group: Sequence[Site]) -> tuple[str, ...]:
    return tuple(site.name for site in group)
