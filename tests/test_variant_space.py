"""The union space over variants of a backbone: counted exactly, walked by steps, carried over."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product

import pytest
from optuna.trial import FixedTrial
from torch import nn

from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones.resnet_cifar import resnet_cifar
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan, Variant
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.space.variants.arguments import combinations, nearest
from isoshare.space.variants.variant_space import VariantSpace
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, ThreeSites, create_study, engine_for, sites_of

Values = Mapping[str, Sequence[int]]


def resnet(variant: Variant) -> nn.Module:
    """A small CIFAR-ResNet."""
    return resnet_cifar(**dict(variant))  # type: ignore[arg-type]


def union(
    values: Values, methods: Sequence[str] = ("kernel",), without: Sequence[Variant] = ()
) -> VariantSpace:
    """The space over variants of that network; the reference is the last."""
    members = {}
    for variant in combinations(values):
        if variant not in without:
            made = resnet(variant)
            members[variant] = SearchSpace(
                find_sites(made), count_parameters(made), methods, variant=variant
            )
    return VariantSpace(members, values, list(members)[-1])


def sequences() -> VariantSpace:
    """That over sequences of three and of four equal convolutions."""
    members = {}
    for variant in combinations({"sites": (3, 4)}):
        made = ThreeSites(int(dict(variant)["sites"]))
        members[variant] = SearchSpace(sites_of(made), count_parameters(made), variant=variant)
    return VariantSpace(members, {"sites": (3, 4)}, (("sites", 4),))


@pytest.fixture(scope="module")
def several() -> VariantSpace:
    """Six variants, all methods."""
    return union({"depth": (8, 14, 20), "width": (2, 4)}, tuple(METHODS))


def tied(depth: int, width: int, *sites: str) -> SharingPlan:
    """One kernel for these sites of a variant."""
    return SharingPlan((Bank("kernel", sites=sites),), (("depth", depth), ("width", width)))


def labelled(space: SearchSpace) -> set[SharingPlan]:
    """The plans of every way to label the sites of the one group, without any cleverness."""
    names = [site.name for site in space.groups[0]]
    plans = set()
    for labels in product(range(len(names)), repeat=len(names)):
        blocks = (
            tuple(name for name, one in zip(names, labels, strict=True) if one == label)
            for label in set(labels)
        )
        banks = tuple(Bank("kernel", sites=block) for block in blocks)
        plans.add(SharingPlan(banks, space.variant))
    return plans


def test_brute_force_over_two_variants_gives_exactly_the_counted_plans() -> None:
    space = sequences()
    expected = {plan for member in space.members.values() for plan in labelled(member)}
    found = list(space.plans())
    assert set(found) == expected
    assert len(found) == len({plan.fingerprint for plan in found}) == space.count() == 5 + 15
    assert all(plan in space for plan in found)


def test_the_variant_is_part_of_the_fingerprint() -> None:
    one, other = (
        tied(14, 4, "stages.0.0.conv1", "stages.0.0.conv2"),
        tied(14, 2, "stages.0.0.conv1", "stages.0.0.conv2"),
    )
    assert one.fingerprint != other.fingerprint
    assert one.of_variant(()).fingerprint == SharingPlan(one.banks).fingerprint
    assert SharingPlan.restored(one.stored) == one
    # As it was before plans could name a variant: databases are full of them.
    assert SharingPlan().fingerprint == "4f53cda18c2baa0c"


def test_sizes_are_those_of_the_networks_that_are_built(several: VariantSpace) -> None:
    rng = random.Random(0)
    for _ in range(6):
        plan = several.random_plan(rng)
        built = apply_plan(resnet(plan.variant), plan, weights="fresh")
        assert several.trainable_parameters(plan) == count_parameters(built)


def test_a_sampler_chooses_the_variant_first_and_can_be_told_any_plan(
    several: VariantSpace,
) -> None:
    rng = random.Random(1)
    for plan in (*several.warm_starts().values(), *(several.random_plan(rng) for _ in range(40))):
        answers = several.parameters(plan)
        assert list(answers)[:2] == ["backbone/depth", "backbone/width"]
        assert several.suggest(FixedTrial(answers)) == plan


def test_steps_and_crossings_stay_in_the_space(several: VariantSpace) -> None:
    rng = random.Random(2)
    plan = several.random_plan(rng)
    steps = list(several.neighbours(plan))
    assert all(step in several and step != plan for step in steps)
    assert len({step.fingerprint for step in steps}) == len(steps)
    others = {step.variant for step in steps} - {plan.variant}
    apart = [sum(a != b for a, b in zip(plan.variant, one, strict=True)) for one in others]
    assert apart
    assert set(apart) == {1}
    for _ in range(40):
        pair = several.random_plan(rng), several.random_plan(rng)
        child = several.crossing(*pair, rng)
        assert child in several
        assert all(
            dict(child.variant)[name] in {dict(one.variant)[name] for one in pair}
            for name in ("depth", "width")
        )


def test_a_pattern_means_the_same_at_every_depth_and_width(several: VariantSpace) -> None:
    plan = tied(14, 2, "stages.1.0.conv2", "stages.1.1.conv2")
    deeper = several.roles.carried(plan, (("depth", 20), ("width", 4)))
    assert deeper == tied(20, 4, *(f"stages.1.{block}.conv2" for block in range(3)))
    assert several.roles.carried(deeper, plan.variant) == plan
    # At depth 8 a stage has one block: nobody is left to share with.
    assert not several.roles.carried(plan, (("depth", 8), ("width", 2))).banks


def test_carrying_to_the_same_variant_changes_nothing_and_to_any_other_stays_in_the_space(
    several: VariantSpace,
) -> None:
    rng = random.Random(3)
    for _ in range(15):
        plan = several.random_plan(rng)
        assert several.roles.carried(plan, plan.variant) == plan
        assert all(several.roles.carried(plan, other) in several for other in several.members)


def test_impossible_variants_are_stepped_over() -> None:
    missing = (("depth", 14), ("width", 2))
    space = union({"depth": (8, 14, 20), "width": (2, 4)}, without=[missing])
    assert missing not in space.members
    start = space.members[("depth", 8), ("width", 2)].unshared_plan()
    assert {step.variant for step in space.neighbours(start)} >= {(("depth", 20), ("width", 2))}
    assert nearest(missing, space.values, space.members) in space.members


def test_all_variants_are_measured_unshared_first_and_fully_shared_then(
    several: VariantSpace,
) -> None:
    starts = several.warm_starts()
    assert starts["unshared"].variant == several.variant
    plans = list(starts.values())
    unshared = [plan for plan in plans if not plan.banks]
    assert {plan.variant for plan in unshared} == set(several.members)
    shared = [several.members[variant].fully_shared_plan() for variant in several.members]
    assert {plan.fingerprint for plan in shared} <= {plan.fingerprint for plan in plans}
    later = [plan for plan in plans if plan in shared and plan.variant != several.variant]
    assert min(map(plans.index, later)) > max(map(plans.index, unshared))


@pytest.mark.parametrize("sampler", ["ehvi", "local", "random", "tpe", "nsga2"])
def test_a_search_over_variants_that_is_resumed_measures_the_same_plans(sampler: str) -> None:
    def run(*budgets: int) -> list[str]:
        store, space = Store("sqlite://"), union({"depth": (8, 14), "width": (2, 4)})
        asked = {"sampler": sampler, "backbone": "resnet_cifar", "vary": dict(space.values)}
        study = None
        for budget in budgets:
            config = make_config({**asked, "trials": budget, "epochs": 1})
            study = study or create_study(store, space, config)
            run_inline(engine_for(store, study, config, space), FakeEvaluator())
        return [trial.plan.fingerprint for trial in store.trials("study")]

    whole = run(24)
    assert len(set(whole)) == 24
    assert run(9, 17, 24) == whole
