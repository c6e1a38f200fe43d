"""The space holds every canonical plan once, and every sampler's vector is one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from space.backbones import build_backbone
from space.plan import SharingPlan
from space.search_space import SearchSpace, bell_number, partitions
from space.sites import Site, find_sites


def space(*sizes: int) -> SearchSpace:
    """Isomorphic groups of the given sizes, their sites interleaved."""
    sites = [
        Site(f"s{place}.g{group}", (3, 3), group + 1, group + 1)
        for place in range(max(sizes))
        for group, size in enumerate(sizes)
        if place < size
    ]
    return SearchSpace(sites, sum(site.parameters for site in sites) + 100)


class Choices:
    """A trial that answers from a dictionary, or at random, and remembers what it was asked."""

    def __init__(self, answers: dict[str, str] | random.Random) -> None:
        self.answers = answers
        self.asked: dict[str, tuple[str, ...]] = {}

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        self.asked[name] = tuple(choices)
        if isinstance(self.answers, dict):
            assert self.answers[name] in choices
            return self.answers[name]
        return self.answers.choice(list(choices))


def test_bell_numbers() -> None:
    assert [bell_number(size) for size in range(8)] == [1, 1, 2, 5, 15, 52, 203, 877]
    for size in range(7):
        assert len(set(partitions([str(n) for n in range(size)]))) == bell_number(size)


def test_resnet18_has_1875_plans() -> None:
    sites = find_sites(build_backbone("torchvision.models:resnet18", {}))
    resnet18 = SearchSpace(sites, 11_689_512)
    plans = {plan.fingerprint for plan in resnet18.plans()}
    assert resnet18.count() == len(plans) == 1875


def test_every_vector_is_a_plan_and_every_plan_has_a_vector() -> None:
    """Brute force over all vectors of a small space."""
    small = space(4, 3)
    trial = Choices(random.Random(0))
    small.suggest(trial)
    reached = {
        small.suggest(Choices(dict(zip(trial.asked, answers, strict=True)))).fingerprint
        for answers in product(*trial.asked.values())
    }
    assert reached == {plan.fingerprint for plan in small.plans()}
    assert len(reached) == small.count() == 15 * 5


@given(st.integers(0, 10**6))
def test_parameters_is_the_inverse_of_suggest(seed: int) -> None:
    big = space(9, 5, 2)
    for plan in (
        big.random_plan(random.Random(seed)),
        big.suggest(Choices(random.Random(seed))),
        big.unshared_plan(),
        big.fully_shared_plan(),
    ):
        assert big.suggest(Choices(big.parameters(plan))) == plan


def test_samplers_always_see_the_same_parameters() -> None:
    trials = [Choices(random.Random(seed)) for seed in range(5)]
    for trial in trials:
        space(5, 4).suggest(trial)
    assert all(trial.asked == trials[0].asked for trial in trials)
    assert len(trials[0].asked) == 4 + 3


def neighbours_by_brute_force(small: SearchSpace, plan: SharingPlan) -> set[str]:
    """All plans that become equal to ``plan`` when one site is taken out of both."""
    found = set()
    for other in small.plans():
        for group in small.groups:
            for site in group:
                if other != plan and _without(other, site.name) == _without(plan, site.name):
                    found.add(other.fingerprint)
    return found


def _without(plan: SharingPlan, name: str) -> set[frozenset[str]]:
    blocks = (frozenset(bank.sites) - {name} for bank in plan.banks)
    return {block for block in blocks if len(block) > 1}


def test_neighbours_are_the_plans_one_site_away() -> None:
    small = space(4, 2)
    for plan in small.plans():
        neighbours = [neighbour.fingerprint for neighbour in small.neighbours(plan)]
        assert len(neighbours) == len(set(neighbours))
        assert set(neighbours) == neighbours_by_brute_force(small, plan)


def test_random_plans_reach_both_ends_of_the_space() -> None:
    rng, small = random.Random(0), space(4, 4)
    sizes = {small.trainable_parameters(small.random_plan(rng)) for _ in range(300)}
    assert small.trainable_parameters(small.unshared_plan()) == small.unshared in sizes
    assert small.trainable_parameters(small.fully_shared_plan()) == min(sizes)


@pytest.mark.parametrize("sizes", [(2,), (3, 1)])
def test_sites_without_a_counterpart_have_no_choice(sizes: tuple[int, ...]) -> None:
    assert len(space(*sizes).groups) == 1
