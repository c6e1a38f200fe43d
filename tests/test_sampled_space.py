"""Some plans of a space, walked as the space is."""

from __future__ import annotations

import random

import pytest

from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.samplers import SAMPLERS
from isoshare.space.plan import SharingPlan
from isoshare.space.sampled_space import NEIGHBOURS, SampledSpace, traits_of
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_named_study, engine_for, space_with_costs

WHOLE = space_with_costs(6, ("kernel", "low_rank"))


@pytest.fixture(scope="module")
def some() -> SampledSpace:
    rng = random.Random(1)
    drawn = dict.fromkeys(WHOLE.random_plan(rng) for _ in range(80))
    return SampledSpace(WHOLE, list(dict.fromkeys([*WHOLE.warm_starts().values(), *drawn])))


def test_only_the_plans_that_were_given_can_be_chosen(some: SampledSpace) -> None:
    plans, rng = list(some.plans()), random.Random(0)
    assert some.count() == len(plans) < WHOLE.count()
    assert all(plan in some and plan in WHOLE for plan in plans)
    strangers = [plan for plan in WHOLE.plans() if plan not in set(plans)]
    assert strangers
    assert not any(plan in some for plan in strangers)
    assert all(some.random_plan(rng) in some for _ in range(50))
    assert all(some.crossing(plans[5], plan, rng) in some for plan in plans)
    assert set(some.warm_starts()) == set(WHOLE.warm_starts())
    assert some.smallest_plan == min(plans, key=WHOLE.trainable_parameters)
    assert some.macs(plans[3]) == WHOLE.macs(plans[3])


def test_a_step_leads_to_the_plans_that_are_most_alike(some: SampledSpace) -> None:
    plan = list(some.plans())[7]
    near = list(some.neighbours(plan))
    assert len(near) == len(set(near)) == NEIGHBOURS
    assert plan not in near

    def distance(other: SharingPlan) -> int:
        return len(traits_of(plan) ^ traits_of(other))

    rest = set(some.plans()) - {plan, *near}
    assert max(map(distance, near)) <= min(map(distance, rest))
    assert not list(some.neighbours(next(p for p in WHOLE.plans() if p not in some)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_its_way_among_them(
    store: Store, some: SampledSpace, sampler: str
) -> None:
    config = make_config({"trials": 20, "workers": 1, "sampler": sampler, "replicates": 1})
    study = create_named_study(store, "s", some, config)
    assert study.context.plans == some.count()
    run_inline(engine_for(store, study, config, some), FakeEvaluator())
    plans = [trial.plan for trial in store.trials("s")]
    assert len(set(plans)) == 20
    assert all(plan in some for plan in plans)
