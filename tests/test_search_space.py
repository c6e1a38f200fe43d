"""The space holds every canonical plan once, and every sampler's vector is one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.choices.partitions import count_partitions, mapping_of, partitions, spread
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.published import PUBLISHED, Published, references
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site, find_sites


def space(*sizes: int) -> SearchSpace:
    """Isomorphic groups of the given sizes, their sites interleaved."""
    sites = [
        Site(f"s{place}.g{group}", (3, 3), group + 1, group + 1)
        for place in range(max(sizes))
        for group, size in enumerate(sizes)
        if place < size
    ]
    return SearchSpace(sites, sum(site.parameters for site in sites) + 100)


ALL = tuple(METHODS)


def mixed_space(methods: Sequence[str] = ALL) -> SearchSpace:
    """A small space of all methods: isomorphic groups, a single site, two kernel sizes."""
    sites = [Site(f"a{place}", (3, 3), 4, 4) for place in range(3)]
    sites += [Site("s", (3, 3), 2, 4)]
    sites += [Site(f"p{place}", (1, 1), 6, 6) for place in range(2)]
    return SearchSpace(sites, sum(site.parameters for site in sites) + 10, methods)


class Choices:
    """A trial that answers from a dictionary, or at random, and remembers what it was asked."""

    def __init__(self, answers: dict[str, str] | random.Random) -> None:
        self.answers = answers
        self.asked: dict[str, tuple[str, ...]] = {}
        self.answered: dict[str, str] = {}

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        self.asked[name] = tuple(choices)
        if isinstance(self.answers, dict):
            answer = self.answers[name]
        else:
            answer = self.answers.choice(list(choices))
        assert answer in choices
        self.answered[name] = answer
        return answer


def test_partitions_are_counted_by_bell_numbers() -> None:
    everything = range(2, 9)
    counts = [count_partitions(length, everything) for length in range(8)]
    assert counts == [1, 1, 2, 5, 15, 52, 203, 877]


@pytest.mark.parametrize("sizes", [{2}, {3}, {2, 4}, {3, 4, 5}, {5}, set()])
def test_partitions_of_allowed_sizes_are_counted_exactly(sizes: set[int]) -> None:
    for length in range(6):
        names = [str(place) for place in range(length)]
        found = list(partitions(names, sizes))
        assert len(set(found)) == len(found) == count_partitions(length, sizes)
        assert all(len(block) in sizes for blocks in found for block in blocks)


def test_mappings_in_order_and_strided() -> None:
    names = list("abcdef")
    assert spread(names, 2, "in order") == (("a", "b", "c"), ("d", "e", "f"))
    assert spread(names, 2, "strided") == (("a", "c", "e"), ("b", "d", "f"))
    assert spread(names, 4, "strided") == (("a", "e"), ("b", "f"))
    assert mapping_of(names, spread(names, 3, "strided")) == ("strided", 3)
    assert mapping_of(names, spread(names, 3, "in order")) == ("in order", 3)
    assert mapping_of(names, (("a", "c"),)) == ("free", 0)


def test_resnet18_has_1875_plans_of_kernel_sharing() -> None:
    sites = find_sites(build_backbone("torchvision.models:resnet18", {}))
    resnet18 = SearchSpace(sites, 11_689_512)
    plans = {plan.fingerprint for plan in resnet18.plans()}
    assert resnet18.count() == len(plans) == 1875


def vectors(small: SearchSpace, answers: dict[str, str] | None = None) -> list[SharingPlan]:
    """The plans of all vectors a sampler can give, by brute force."""

    class Partial:
        def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
            if name not in answered:
                raise LookupError(name, choices)
            return answered[name]

    answered = answers or {}
    try:
        return [small.suggest(Partial())]
    except LookupError as open_choice:
        name, choices = open_choice.args
        return [plan for choice in choices for plan in vectors(small, {**answered, name: choice})]


@pytest.mark.parametrize("small", [space(4, 3), space(3, 3)])
def test_every_vector_is_a_plan_and_every_plan_has_a_vector(small: SearchSpace) -> None:
    reached = {plan.fingerprint for plan in vectors(small)}
    assert reached == {plan.fingerprint for plan in small.plans()}
    assert len(reached) == small.count()


@pytest.mark.parametrize("methods", [ALL, ("slice_generator",), ("anchored", "filter_basis")])
def test_a_space_of_several_methods_holds_each_plan_once(methods: tuple[str, ...]) -> None:
    small = mixed_space(methods)
    plans = list(small.plans())
    assert small.count() == len(plans) == len(set(plans))
    assert {plan.fingerprint for plan in vectors(small)} == {plan.fingerprint for plan in plans}
    assert all(plan in small for plan in plans)
    used = {bank.method for plan in plans for bank in plan.banks}
    assert used == set(methods)


def test_no_bank_costs_as_much_as_what_it_replaces() -> None:
    small = mixed_space()
    for plan in small.plans():
        for bank in plan.banks:
            without = SharingPlan(tuple(other for other in plan.banks if other != bank))
            assert small.trainable_parameters(plan) < small.trainable_parameters(without)


def test_the_smallest_plan_is_the_smallest() -> None:
    for small in (mixed_space(), space(4, 3), mixed_space(("slice_generator",))):
        sizes = [small.trainable_parameters(plan) for plan in small.plans()]
        assert small.trainable_parameters(small.smallest_plan) == min(sizes)


def test_the_size_of_a_large_space_is_exact() -> None:
    """A group of n sites has Bell(n) plans of kernel sharing; groups multiply."""
    sites = find_sites(build_backbone("resnet_cifar", {"depth": 56}))
    large = SearchSpace(sites, 853_018)
    bell = [1]
    for n in range(18):
        bell.append(sum(comb(n, k) * bell[k] for k in range(n + 1)))
    assert large.count() == bell[18] * bell[17] * bell[17]


@given(st.integers(0, 10**6))
def test_parameters_is_the_inverse_of_suggest(seed: int) -> None:
    for any_space in (space(9, 5, 2), mixed_space()):
        for plan in (
            any_space.random_plan(random.Random(seed)),
            any_space.suggest(Choices(random.Random(seed))),
            any_space.smallest_plan,
            *any_space.warm_starts().values(),
        ):
            assert plan in any_space
            assert any_space.suggest(Choices(any_space.parameters(plan))) == plan


def test_only_what_is_used_is_asked() -> None:
    for seed in range(50):
        trial = Choices(random.Random(seed))
        mixed_space().suggest(trial)
        methods = {trial.answered[name] for name in trial.asked if name.startswith("method/")}
        options = {name.split("/")[0] for name in trial.asked if name.split("/")[0] in METHODS}
        assert options <= methods


def test_plans_outside_the_space_are_told() -> None:
    small = mixed_space()
    outside = [
        Bank("kernel", {"orthogonality": 0.5}, ("a0", "a1")),
        Bank("filter_basis", {"shared_rank": 99}, ("a0", "a1")),
        Bank("slice_generator", {"slice_size": 2, "code_size": 4}, ("a0", "a1")),
    ]
    for bank in outside:
        assert SharingPlan((bank,)) not in small
        assert list(small.neighbours(SharingPlan((bank,)))) == []
    kernels_only = mixed_space(("kernel",))
    assert SharingPlan((Bank("anchored", {}, ("a0", "a1")),)) not in kernels_only


def moved(small: SearchSpace, plan: SharingPlan) -> set[str]:
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


def _coarser(fine: SharingPlan, coarse: SharingPlan) -> bool:
    """Whether ``coarse`` comes from ``fine`` by merging two banks or private sites."""
    fine_blocks = {frozenset(bank.sites) for bank in fine.banks}
    new = {frozenset(bank.sites) for bank in coarse.banks} - fine_blocks
    gone = fine_blocks - {frozenset(bank.sites) for bank in coarse.banks}
    if len(new) != 1:
        return False
    (block,) = new
    parts = len(gone) + len(block - frozenset().union(*gone))
    return parts == 2 and all(part < block for part in gone)


def test_neighbours_of_kernel_plans_are_moves_merges_and_splits() -> None:
    small = space(4, 2)
    plans = list(small.plans())
    for plan in plans:
        found = [neighbour.fingerprint for neighbour in small.neighbours(plan)]
        assert len(found) == len(set(found))
        merged = {other.fingerprint for other in plans if _coarser(plan, other)}
        split = {other.fingerprint for other in plans if _coarser(other, plan)}
        ends = {
            SharingPlan(tuple(b for b in plan.banks if b.sites[0][3:] != group)).fingerprint
            for group in ("g0", "g1")
        }
        whole = {
            SharingPlan(
                (*(b for b in plan.banks if b.sites[0] not in names), Bank("kernel", {}, names))
            ).fingerprint
            for group in small.groups
            if (names := tuple(site.name for site in group))
            and not any(b.sites[0] in names for b in plan.banks)
        }
        allowed = moved(small, plan) | merged | split | ends | whole
        assert moved(small, plan) | merged | split <= set(found) <= allowed


def test_every_plan_can_be_reached_from_the_unshared_one() -> None:
    small = mixed_space()
    seen, waiting = {small.unshared_plan()}, [small.unshared_plan()]
    while waiting:
        for neighbour in small.neighbours(waiting.pop()):
            if neighbour not in seen:
                seen.add(neighbour)
                waiting.append(neighbour)
    assert seen == set(small.plans())


def test_random_plans_reach_both_ends_of_the_space() -> None:
    rng, small = random.Random(0), space(4, 4)
    sizes = {small.trainable_parameters(small.random_plan(rng)) for _ in range(300)}
    assert small.trainable_parameters(small.unshared_plan()) == small.unshared in sizes
    assert small.trainable_parameters(small.fully_shared_plan()) == min(sizes)


def test_random_plans_use_every_method() -> None:
    rng, small = random.Random(0), mixed_space()
    plans = [small.random_plan(rng) for _ in range(100)]
    assert {bank.method for plan in plans for bank in plan.banks} == set(METHODS)


@pytest.mark.parametrize("sizes", [(2,), (3, 1)])
def test_sites_without_a_counterpart_have_no_choice(sizes: tuple[int, ...]) -> None:
    assert len(space(*sizes).groups) == 1


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.title)
def test_published_plans_are_points_of_their_space(row: Published) -> None:
    """Fashion-MNIST's network alone shares nothing but itself."""
    backbone = build_backbone(row.backbone, row.build_arguments)
    sites = find_sites(backbone)
    known = references(row.backbone, sites)
    whole = SearchSpace(sites, row.unshared, ALL, known)
    plan = row.plan(sites)
    assert plan in whole
    assert whole.suggest(Choices(whole.parameters(plan))) == plan
    if plan.banks:
        assert plan in whole.warm_starts().values()


def test_plans_of_the_papers_that_do_not_pay_are_left_out() -> None:
    """A generator whose fixed cost a small network cannot pay back."""
    backbone = build_backbone("resnet_cifar", {"depth": 20, "width": 2})
    sites = find_sites(backbone)
    published = references("resnet_cifar", sites)
    assert any(name.startswith("generator") for name in published)
    small = SearchSpace(sites, count_parameters(backbone), ALL, published)
    assert not any(name.startswith("generator") for name in small.references)


def test_random_plans_of_a_real_network_count_as_they_should() -> None:
    backbone = build_backbone("resnet_cifar", {"depth": 14, "width": 8})
    whole = SearchSpace(find_sites(backbone), count_parameters(backbone), ALL)
    for seed in range(15):
        plan = whole.random_plan(random.Random(seed))
        size = whole.trainable_parameters(plan)
        assert size == count_parameters(apply_plan(backbone, plan)) <= whole.unshared
