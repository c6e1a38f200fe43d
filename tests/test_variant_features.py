"""The surrogate across variants: what one of them tells is believed of the others."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from isoshare.search.samplers.plan_features import PlanFeatures
from isoshare.search.samplers.surrogate import Surrogate
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.variants.variant_space import VariantSpace
from tests.test_variant_space import union

HURTS = {"stages.0": 0.02, "stages.1": 0.15, "stages.2": 0.0}
"""What a table of trainings of CIFAR-ResNets says as well: sharing costs in some stages only."""
SHALLOW, DEEP = (("depth", 14), ("width", 2)), (("depth", 20), ("width", 4))


@pytest.fixture(scope="module")
def space() -> VariantSpace:
    """Four variants."""
    return union({"depth": (14, 20), "width": (2, 4)}, tuple(METHODS))


def truth(space: VariantSpace, plan: SharingPlan) -> float:
    """The accuracy of a plan: its variant's, less what sharing costs in each stage."""
    groups = space.of(plan).groups
    size = {site.name: len(group) for group in groups for site in group}
    costs = (
        HURTS.get(name[:8], 0.0) / size.get(name, 1) for bank in plan.banks for name in bank.sites
    )
    return 0.05 * math.log(space.of(plan).unshared) - sum(costs)


def agreement(
    space: VariantSpace, seen: Sequence[SharingPlan], asked: Sequence[SharingPlan]
) -> float:
    """Rank correlation of what is believed of plans with the truth, after others were measured."""
    features, noise = PlanFeatures(space), random.Random(5)
    means = np.array([truth(space, plan) + noise.gauss(0, 0.01) for plan in seen])
    surrogate = Surrogate(features(seen), features.weights, means, np.ones(len(seen)), (0.0, 0.0))
    believed = surrogate.predict(features(asked)).mean
    one, other = (np.argsort(np.argsort(values)) for values in (believed, true(space, asked)))
    return float(np.corrcoef(one, other)[0, 1])


def true(space: VariantSpace, plans: Sequence[SharingPlan]) -> list[float]:
    """The accuracies of several plans."""
    return [truth(space, plan) for plan in plans]


def drawn(
    space: VariantSpace, variant: tuple[tuple[str, int], ...], number: int, seed: int
) -> list[SharingPlan]:
    """Plans of one variant at random."""
    rng = random.Random(seed)
    return [space.members[variant].random_plan(rng) for _ in range(number)]


@pytest.mark.parametrize("seed", range(3))
def test_trials_of_one_variant_improve_the_ranking_of_another(
    space: VariantSpace, seed: int
) -> None:
    few, asked = drawn(space, DEEP, 5, seed), drawn(space, DEEP, 60, 100 + seed)
    others = drawn(space, SHALLOW, 40, 200 + seed)
    alone, helped = agreement(space, few, asked), agreement(space, [*few, *others], asked)
    assert helped > alone + 0.1
    assert helped > 0.6


def test_features_are_finite_and_tell_variants_apart(space: VariantSpace) -> None:
    features = PlanFeatures(space)
    rows = features([member.unshared_plan() for member in space.members.values()])
    assert np.isfinite(rows).all()
    assert len(np.unique(rows, axis=0)) == len(space.members)
    assert rows.shape[1] == len(features.weights)


def test_a_pattern_that_is_carried_has_the_same_shares_of_its_roles(space: VariantSpace) -> None:
    features = PlanFeatures(space)
    plan = space.members[SHALLOW].fully_shared_plan()
    columns = [
        place for place, name in enumerate(features._columns) if name[0] in ("tied", "method")
    ]
    both = features([plan, space.roles.carried(plan, DEEP)])[:, columns]
    assert both[0] == pytest.approx(both[1])
