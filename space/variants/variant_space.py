"""The union of the search spaces of several variants of a backbone, walked as one space.

A plan names its variant. A sampler chooses the variant first, one argument after another, then what
each group of it shares; a step changes what is shared, or one argument by one step, and carries the
pattern along (space/variants/carrying.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain

from isoshare.space.choices.method_choices import MethodConfig, Suggester
from isoshare.space.costs.closed_form import NetworkCosts
from isoshare.space.methods.device import Target
from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site
from isoshare.space.variants.arguments import Values, label, nearest, neighbouring, typed
from isoshare.space.variants.carrying import Roles

ARGUMENT = "backbone"
"""What the parameters of a sampler begin with that choose an argument."""


class VariantSpace:
    """Every plan of every variant; what it offers is what ``SearchSpace`` does.

    members: the space of each possible variant, whose plans name it. values: of the arguments that
    are varied. reference: the variant that sizes are compared with.
    """

    def __init__(
        self, members: Mapping[Variant, SearchSpace], values: Values, reference: Variant
    ) -> None:
        self.members = dict(members)
        self.values = values
        self.reference = self.members[reference]

    @cached_property
    def roles(self) -> Roles:
        """What the sites of the variants have in common."""
        return Roles(self.members)

    @property
    def variant(self) -> Variant:
        """The arguments of the reference."""
        return self.reference.variant

    @property
    def sites(self) -> tuple[Site, ...]:
        """Those of the reference; so ``unshared``, ``costs``, ``methods``."""
        return self.reference.sites

    @property
    def unshared(self) -> int:
        """Trainable parameters of the unshared reference."""
        return self.reference.unshared

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that plans may use."""
        return self.reference.methods

    @property
    def has_costs(self) -> bool:
        """Whether more than parameters is known."""
        return self.reference.has_costs

    @property
    def knows_devices(self) -> bool:
        """Whether what a device holds is known."""
        return self.reference.knows_devices

    @property
    def costs(self) -> NetworkCosts:
        """What one image costs the unshared reference. Raises IsoshareError if nobody has told."""
        return self.reference.costs

    @cached_property
    def largest(self) -> SearchSpace:
        """The space of the variant with the most parameters."""
        return max(self.members.values(), key=lambda space: space.unshared)

    @cached_property
    def offers(self) -> tuple[MethodConfig, ...]:
        """Every method with every set of options that some plan has."""
        return tuple(dict.fromkeys(chain(*(space.offers for space in self.members.values()))))

    def __contains__(self, plan: object) -> bool:
        """Whether the plan can be chosen."""
        return isinstance(plan, SharingPlan) and plan in self.members.get(plan.variant, ())

    def of(self, plan: SharingPlan) -> SearchSpace:
        """The space of the variant that a plan names. Raises KeyError."""
        return self.members[plan.variant]

    def trainable_parameters(self, plan: SharingPlan) -> int:
        """Trainable parameters of the network that ``plan`` builds, without building it."""
        return self.of(plan).trainable_parameters(plan)

    def macs(self, plan: SharingPlan) -> int:
        """Multiply-accumulates of the shared network for one image."""
        return self.of(plan).macs(plan)

    def stored_bytes(self, plan: SharingPlan) -> int:
        """Bytes of a file that holds each tensor of the shared network once."""
        return self.of(plan).stored_bytes(plan)

    def activation_bytes(self, plan: SharingPlan) -> int:
        """Bytes of the activations of one image that are alive at once, at most."""
        return self.of(plan).activation_bytes(plan)

    def device_bytes(self, plan: SharingPlan, target: Target) -> int:
        """Bytes that a device holds of the shared network beside activations."""
        return self.of(plan).device_bytes(plan, target)

    @cached_property
    def _count(self) -> int:
        return sum(space.count() for space in self.members.values())

    def count(self) -> int:
        """How many distinct plans there are, exactly."""
        return self._count

    def plans(self) -> Iterator[SharingPlan]:
        """All ``count()`` plans, each once."""
        return chain.from_iterable(space.plans() for space in self.members.values())

    def unshared_plan(self) -> SharingPlan:
        """The reference itself."""
        return self.reference.unshared_plan()

    def fully_shared_plan(self) -> SharingPlan:
        """The reference, shared as far as the first of the methods goes."""
        return self.reference.fully_shared_plan()

    @cached_property
    def smallest_plan(self) -> SharingPlan:
        """The plan with the fewest parameters."""
        plans = (space.smallest_plan for space in self.members.values())
        return min(plans, key=self.trainable_parameters)

    def cheapest(self, cost: Callable[[SharingPlan], float]) -> SharingPlan:
        """The plan of the lowest ``cost`` that is found in any variant."""
        return min((space.cheapest(cost) for space in self.members.values()), key=cost)

    def warm_starts(self) -> dict[str, SharingPlan]:
        """Those of the reference, then every other variant as it is, which is scaling alone, then
        fully shared: between the two lies what sharing is worth there.
        """
        others = [space for space in self.members.values() if space is not self.reference]
        starts = self.reference.warm_starts()
        starts |= {f"unshared, {label(one.variant)}": one.unshared_plan() for one in others}
        return starts | {
            f"fully shared, {label(one.variant)}": one.fully_shared_plan() for one in others
        }

    def suggest(self, trial: Suggester) -> SharingPlan:
        """The plan that a sampler chooses: the arguments, then a plan of that variant. Arguments
        that do not go together stand for the nearest ones that do.
        """
        chosen = []
        for name in sorted(self.values):
            words = [typed(value) for value in self.values[name]]
            word = trial.suggest_categorical(f"{ARGUMENT}/{name}", words)
            chosen.append((name, self.values[name][words.index(word)]))
        variant = nearest(tuple(chosen), self.values, self.members)
        return self.members[variant].suggest(_OfVariant(trial, variant))

    def parameters(self, plan: SharingPlan) -> dict[str, str]:
        """The inverse of ``suggest``. Raises KeyError for a plan that is not in the space."""
        own = self.of(plan).parameters(plan)
        arguments = {f"{ARGUMENT}/{name}": typed(value) for name, value in plan.variant}
        return arguments | {_named(plan.variant, name): answer for name, answer in own.items()}

    def random_plan(self, rng: random.Random) -> SharingPlan:
        """A variant drawn evenly, then a plan of it at random."""
        return rng.choice(list(self.members.values())).random_plan(rng)

    def crossing(self, one: SharingPlan, other: SharingPlan, rng: random.Random) -> SharingPlan:
        """Each argument, then what each group has chosen, of one of two plans."""
        pairs = zip(one.variant, other.variant, strict=True)
        variant = tuple(rng.choice(pair) for pair in pairs)
        if variant not in self.members:
            variant = rng.choice((one, other)).variant
        first, second = self._carried(one, variant), self._carried(other, variant)
        return self.members[variant].crossing(first, second, rng)

    def neighbours(self, plan: SharingPlan) -> Iterator[SharingPlan]:
        """Plans one step away within the variant, and the pattern on the next variants. Empty for a
        plan that is not in the space.
        """
        if plan in self:
            yield from self.of(plan).neighbours(plan)
            for variant in neighbouring(plan.variant, self.values, self.members):
                yield self.roles.carried(plan, variant)

    def _carried(self, plan: SharingPlan, variant: Variant) -> SharingPlan:
        return plan if plan.variant == variant else self.roles.carried(plan, variant)


class _OfVariant:
    """A trial of a sampler whose parameters belong to one variant: others of the same name have
    other choices.
    """

    def __init__(self, trial: Suggester, variant: Variant) -> None:
        self._trial = trial
        self._variant = variant

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """The sampler's choice."""
        return self._trial.suggest_categorical(_named(self._variant, name), choices)


def _named(variant: Variant, name: str) -> str:
    return f"{label(variant)}/{name}"


Space = SearchSpace | VariantSpace
"""What a search looks through."""
