"""The search space: every canonical sharing plan of one backbone, and how a sampler walks in it.

A plan of kernel sharing splits each isomorphic group into banks, so the space is the product of
the set partitions of the groups: 1,875 plans for ResNet-18, a product of Bell numbers. Samplers
that know only vectors see it in the *locus-based adjacency* encoding (Handl and Knowles 2007,
IEEE TEVC 11(1)): each site names an earlier site of its group to share with, or itself to start a
bank. Every vector is a plan, its values mean the same whatever the other sites choose, and so
crossover and density models work on it; several vectors may be one plan, which the fingerprint
tells. Nothing here needs torch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from math import comb, prod
from typing import Protocol

from space.apply import plan_parameters
from space.plan import Bank, SharingPlan
from space.sites import Site, isomorphic_groups

Blocks = tuple[tuple[str, ...], ...]
"""A partition of a group: the names of the sites that share, block by block."""


class Trial(Protocol):
    """The one method of ``optuna.Trial`` that the space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """The sampler's choice."""


class SearchSpace:
    """What each isomorphic group of a backbone may choose.

    sites: all sites of the backbone in module order; unshared: its trainable parameters.
    """

    def __init__(self, sites: Sequence[Site], unshared: int) -> None:
        self.sites = tuple(sites)
        self.unshared = unshared
        self.groups = isomorphic_groups(sites)

    def count(self) -> int:
        """How many distinct plans there are, exactly."""
        return prod(bell_number(len(group)) for group in self.groups)

    def trainable_parameters(self, plan: SharingPlan) -> int:
        """Trainable parameters of the network that ``plan`` builds, without building it."""
        return plan_parameters(plan, self.sites, self.unshared)

    def unshared_plan(self) -> SharingPlan:
        """The plan without banks: the backbone itself."""
        return SharingPlan()

    def fully_shared_plan(self) -> SharingPlan:
        """One bank for each isomorphic group: kernel sharing at its most."""
        return _plan([_names(group)] for group in self.groups)

    def warm_starts(self) -> dict[str, SharingPlan]:
        """The plans that every search measures first, by the name under which they are known."""
        return {"unshared": self.unshared_plan(), "fully shared": self.fully_shared_plan()}

    def suggest(self, trial: Trial) -> SharingPlan:
        """The plan a sampler chooses, one categorical parameter for each site but the first."""
        return _plan(self._suggest_blocks(group, trial) for group in self.groups)

    def parameters(self, plan: SharingPlan) -> dict[str, str]:
        """The inverse of ``suggest``: parameters that make a trial choose ``plan``.

        Each site names the site just before it in its bank.
        """
        bank_of = {name: place for place, bank in enumerate(plan.banks) for name in bank.sites}
        chosen: dict[str, str] = {}
        for group in self.groups:
            latest: dict[int, str] = {}
            for place, name in enumerate(_names(group)):
                bank = bank_of.get(name, -1)
                if place:
                    chosen[parameter_name(name)] = latest.get(bank, name)
                if bank >= 0:
                    latest[bank] = name
        return chosen

    def random_plan(self, rng: random.Random) -> SharingPlan:
        """A plan drawn group by group: the number of banks evenly, then a bank for each site.

        Uniform over partitions would hardly ever draw the strongly shared plans.
        """
        return _plan(_random_blocks(_names(group), rng) for group in self.groups)

    def neighbours(self, plan: SharingPlan) -> Iterator[SharingPlan]:
        """The plans one site away: each site moved to another bank of its group, or to its own."""
        current = [_blocks(_names(group), plan) for group in self.groups]
        seen = {plan.fingerprint}
        for place, blocks in enumerate(current):
            for moved in _moves(blocks):
                neighbour = _plan([*current[:place], moved, *current[place + 1 :]])
                if neighbour.fingerprint not in seen:
                    seen.add(neighbour.fingerprint)
                    yield neighbour

    def plans(self) -> Iterator[SharingPlan]:
        """All ``count()`` plans, each once."""
        for combination in product(*(list(partitions(_names(group))) for group in self.groups)):
            yield _plan(combination)

    def _suggest_blocks(self, group: Sequence[Site], trial: Trial) -> Blocks:
        names = _names(group)
        block_of = {names[0]: [names[0]]}
        for place, name in enumerate(names[1:], start=1):
            partner = trial.suggest_categorical(parameter_name(name), names[: place + 1])
            block = block_of.get(partner, [])
            block.append(name)
            block_of[name] = block
        unique = {id(block): block for block in block_of.values()}
        return tuple(tuple(block) for block in unique.values())


def parameter_name(site: str) -> str:
    """The sampler's name for the choice of a site."""
    return f"shares_with/{site}"


@cache
def bell_number(size: int) -> int:
    """How many partitions a set of ``size`` elements has."""
    bells = [1]
    for n in range(size):
        bells.append(sum(comb(n, k) * bells[k] for k in range(n + 1)))
    return bells[size]


def partitions(names: Sequence[str]) -> Iterator[Blocks]:
    """All partitions of ``names``: each is that of the names before, plus one more name."""
    if not names:
        yield ()
        return
    for blocks in partitions(names[:-1]):
        for place, block in enumerate(blocks):
            yield (*blocks[:place], (*block, names[-1]), *blocks[place + 1 :])
        yield (*blocks, (names[-1],))


def _names(group: Sequence[Site]) -> tuple[str, ...]:
    return tuple(site.name for site in group)


def _plan(
    groups: Iterator[Blocks] | Sequence[Blocks] | Iterator[list[tuple[str, ...]]],
) -> SharingPlan:
    return SharingPlan(tuple(Bank("kernel", {}, block) for blocks in groups for block in blocks))


def _blocks(names: Sequence[str], plan: SharingPlan) -> Blocks:
    """The partition of a group that a plan makes: its banks, then the private sites alone."""
    members = set(names)
    banks = tuple(bank.sites for bank in plan.banks if bank.sites[0] in members)
    shared = {name for block in banks for name in block}
    return (*banks, *((name,) for name in names if name not in shared))


def _random_blocks(names: Sequence[str], rng: random.Random) -> Blocks:
    shuffled = rng.sample(names, len(names))
    banks = rng.randint(1, len(names))
    blocks = [[name] for name in shuffled[:banks]]
    for name in shuffled[banks:]:
        rng.choice(blocks).append(name)
    return tuple(tuple(block) for block in blocks)


def _moves(blocks: Blocks) -> Iterator[Blocks]:
    for source, block in enumerate(blocks):
        for name in block:
            rest = tuple(other for other in block if other != name)
            others = [*blocks[:source], *blocks[source + 1 :]]
            remaining = [rest] if rest else []
            if rest:
                yield (*others, rest, (name,))
            for target, other in enumerate(others):
                joined = (*other, name)
                yield (*others[:target], joined, *others[target + 1 :], *remaining)
