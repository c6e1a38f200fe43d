"""The search space: every canonical sharing plan of one backbone, and how a sampler walks in it.

Each isomorphic group chooses a method, its options and which of its sites share; a network-wide
method (the slice generator) is chosen with one set of options, and each group joins it or not.
Kernel sharing alone makes the product of the set partitions of the groups: 1,875 plans for
ResNet-18, a product of Bell numbers.

Samplers that know only vectors see a group as a method, its options and a mapping: so many banks
in order or strided, or a free partition in the *locus-based adjacency* encoding (Handl and Knowles
2007, IEEE TEVC 11(1)), where each site names an earlier site of its group to share with, or itself
to start a bank. Every vector is a plan; several vectors may be one plan, which the fingerprint
tells. Nothing here needs torch until sizes are asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from math import prod

from isoshare.space.choices.group_choices import ALL_PRIVATE, Choice, GroupSpace
from isoshare.space.choices.method_choices import MethodConfig, Suggester
from isoshare.space.choices.network_choices import WideSpace
from isoshare.space.costs.closed_form import NetworkCosts
from isoshare.space.costs.counted_space import CountedSpace
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan, Variant
from isoshare.space.sites import Site, isomorphic_groups, searched_sites, shapes
from isoshare.space.type_checks import checked_methods

START = "start: "
"""Begins the name of a warm start that stands for one method."""
PRIVATE = "private"
"""What a group chooses that does not share, where there are methods to choose from."""


class SearchSpace(CountedSpace):
    """What each isomorphic group of a backbone may choose.

    sites: all sites of the backbone in module order, of which ``searched_sites`` can be chosen;
    unshared: its trainable parameters; methods: those that plans may use; references: published
    plans, whose options join the space if they fit; costs: what one image costs the backbone;
    variant: the arguments of the backbone that its plans name, where a search varies them.
    """

    def __init__(  # noqa: PLR0913, PLR0917  one for each thing a space is made of
        self,
        sites: Sequence[Site],
        unshared: int,
        methods: Sequence[str] = ("kernel",),
        references: Mapping[str, SharingPlan] | None = None,
        costs: NetworkCosts | None = None,
        variant: Variant = (),
    ) -> None:
        super().__init__(sites, unshared, costs)
        self.variant = variant
        self.methods = checked_methods(methods)
        searched = searched_sites(sites, unshared)
        self.groups = isomorphic_groups(searched)
        named = {name: plan.of_variant(variant) for name, plan in (references or {}).items()}
        known = [bank for plan in named.values() for bank in plan.banks]
        by_group = [name for name in methods if not METHODS[name].network_wide]
        self.group_spaces = [GroupSpace(group, by_group, known) for group in shapes(searched)]
        wide = [name for name in methods if name not in by_group]
        self.wide = WideSpace(self.group_spaces, wide, known)
        self.references = {name: plan for name, plan in named.items() if plan in self}

    def __contains__(self, plan: object) -> bool:
        """Whether the plan can be chosen."""
        return isinstance(plan, SharingPlan) and self._read(plan) is not None

    @property
    def members(self) -> dict[Variant, SearchSpace]:
        """This space alone, by its variant: what the spaces of several variants have more of."""
        return {self.variant: self}

    def count(self) -> int:
        """How many distinct plans there are, exactly."""
        return self._count

    @cached_property
    def _count(self) -> int:
        private = prod(space.count() for space in self.group_spaces)
        return private + sum(self.wide.count(offer) for offer in self.wide.offers)

    @property
    def offers(self) -> tuple[MethodConfig, ...]:
        """Every method with every set of options that some plan has."""
        own = (offer for space in self.group_spaces for offer in space.offers)
        return tuple(dict.fromkeys((*own, *self.wide.offers)))

    def unshared_plan(self) -> SharingPlan:
        """The plan without banks: the backbone itself."""
        return SharingPlan(variant=self.variant)

    def fully_shared_plan(self) -> SharingPlan:
        """All groups shared as far as the first of the methods goes; with kernel sharing, one
        kernel for each isomorphic group.
        """
        return self._everywhere(self.methods[0])

    @cached_property
    def smallest_plan(self) -> SharingPlan:
        """The plan with the fewest parameters."""
        plans = [self.plan_of([space.smallest()[1] for space in self.group_spaces])]
        plans += [self.plan_of(self.wide.smallest(offer)) for offer in self.wide.offers]
        return min(plans, key=self.trainable_parameters)

    def cheapest(self, cost: Callable[[SharingPlan], float]) -> SharingPlan:
        """The plan of the lowest ``cost`` that is found by choosing for one group after another
        who shares whole, or the smallest ones of the network-wide methods.
        """
        choices = [ALL_PRIVATE for _ in self.group_spaces]
        for place, space in enumerate(self.group_spaces):
            options = [[*choices[:place], one, *choices[place + 1 :]] for one in space.wholes()]
            choices = min(options, key=lambda option: cost(self.plan_of(option)))
        plans = [self.smallest_plan, self.plan_of(choices)]
        plans += [self.plan_of(self.wide.smallest(offer)) for offer in self.wide.offers]
        return min(plans, key=cost)

    def warm_starts(self) -> dict[str, SharingPlan]:
        """The plans that every search measures first, by the name under which they are known.

        One for each method goes by ``start: METHOD``.
        """
        starts = {"unshared": self.unshared_plan(), "fully shared": self.fully_shared_plan()}
        starts |= self.references
        starts |= {f"{START}{name}": self._everywhere(name) for name in self.methods[1:]}
        return starts

    def suggest(self, trial: Suggester) -> SharingPlan:
        """The plan a sampler chooses, by categorical parameters; only those that are in use."""
        chosen: list[Choice | str] = []
        for place, space in enumerate(self.group_spaces):
            methods = self._methods(place)
            method = methods[0]
            if len(methods) > 1:
                method = trial.suggest_categorical(f"method/{space.label}", methods)
            if method in space.methods:
                chosen.append(space.suggest(trial, method))
            else:
                chosen.append(ALL_PRIVATE if method == PRIVATE else method)
        return self.plan_of(self.wide.suggest(trial, chosen))

    def parameters(self, plan: SharingPlan) -> dict[str, str]:
        """The inverse of ``suggest``: parameters that make a trial choose ``plan``.

        Raises KeyError for a plan that is not in the space.
        """
        choices = self._read(plan)
        if choices is None:
            raise KeyError(plan.fingerprint)
        answers: dict[str, str] = {}
        for place, (space, choice) in enumerate(zip(self.group_spaces, choices, strict=True)):
            methods = self._methods(place)
            method = choice.offer.method if choice.offer else methods[0]
            if len(methods) > 1:
                answers[f"method/{space.label}"] = method
            if method in space.methods:
                answers |= space.parameters(choice)
        return answers | self.wide.parameters(choices)

    def random_plan(self, rng: random.Random) -> SharingPlan:
        """A plan drawn group by group: a method evenly, then its options and a partition."""
        offer = self.wide.random(rng)
        choices = []
        for place, space in enumerate(self.group_spaces):
            joined = ALL_PRIVATE if offer is None else self.wide.joined(offer, place)
            methods = [*space.methods, *([PRIVATE] if joined.offer else [])]
            method = rng.choice(methods) if methods else PRIVATE
            choices.append(joined if method == PRIVATE else space.random(method, rng))
        return self.plan_of(self.wide.tidy(choices))

    def crossing(self, one: SharingPlan, other: SharingPlan, rng: random.Random) -> SharingPlan:
        """What each group has chosen in one of two plans of the space, drawn for each group."""
        first, second = self._read(one), self._read(other)
        assert first is not None, "only plans of the space are crossed"
        assert second is not None, "only plans of the space are crossed"
        pairs = zip(first, second, strict=True)
        return self.plan_of(self.wide.mixed([rng.choice(pair) for pair in pairs]))

    def neighbours(self, plan: SharingPlan) -> Iterator[SharingPlan]:
        """Plans one step away: a site moved, banks merged or split, an option, a method, a group
        that joins the network-wide bank or leaves it. Empty for a plan that is not in the space.
        """
        current = self._read(plan)
        if current is None:
            return
        seen = {plan}
        for choices in self._steps(current):
            neighbour = self.plan_of(self.wide.tidy(choices))
            if neighbour not in seen:
                seen.add(neighbour)
                yield neighbour

    def plans(self) -> Iterator[SharingPlan]:
        """All ``count()`` plans, each once."""
        for choices in product(*(list(space.choices()) for space in self.group_spaces)):
            yield self.plan_of(choices)
        for offer in self.wide.offers:
            yield from map(self.plan_of, self.wide.choices(offer))

    def _methods(self, place: int) -> tuple[str, ...]:
        """What a sampler can choose for a group: where there is only one method, the partition
        itself can leave all sites private.
        """
        own, wide = self.group_spaces[place].methods, self.wide.methods_of(place)
        return own if len(own) == 1 and not wide else (PRIVATE, *own, *wide)

    def _everywhere(self, method: str) -> SharingPlan:
        """Every group shared by one method as far as it goes."""
        if METHODS[method].network_wide:
            return self.plan_of(self.wide.everywhere(method))
        return self.plan_of([space.whole(method) for space in self.group_spaces])

    def _steps(self, current: Sequence[Choice]) -> Iterator[list[Choice]]:
        for place, space in enumerate(self.group_spaces):
            own = ALL_PRIVATE if self.wide.is_wide(current[place]) else current[place]
            for choice in space.neighbours(own):
                yield [*current[:place], choice, *current[place + 1 :]]
        yield from self.wide.steps(current)

    def _read(self, plan: SharingPlan) -> list[Choice] | None:
        """What each group has chosen in ``plan``; None if the plan is not in the space."""
        choices: list[Choice] = []
        for place, space in enumerate(self.group_spaces):
            banks = [bank for bank in plan.banks if not set(space.names).isdisjoint(bank.sites)]
            choice = self.wide.read(place, banks) or space.read(banks)
            if choice is None:
                return None
            choices.append(choice)
        return choices if self.plan_of(choices) == plan else None

    def plan_of(self, choices: Sequence[Choice]) -> SharingPlan:
        """The plan in which each group has made its choice."""
        banks: list[Bank] = []
        joined: dict[tuple[MethodConfig, tuple[int, ...]], list[str]] = {}
        for space, choice in zip(self.group_spaces, choices, strict=True):
            if choice.offer is not None and self.wide.is_wide(choice):
                key = (choice.offer, space.sites[0].kernel_size)
                joined.setdefault(key, []).extend(space.names)
            else:
                banks.extend(choice.banks)
        for (offer, _), names in joined.items():
            banks.append(Bank(offer.method, dict(offer.options), tuple(names)))
        return SharingPlan(tuple(banks), self.variant)
