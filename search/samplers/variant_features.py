"""What plans of several variants of a backbone have in common, as numbers for the surrogate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.search_space import SearchSpace
from isoshare.space.variants.carrying import Role
from isoshare.space.variants.variant_space import VariantSpace

Name = tuple[object, ...]


class VariantFeatures:
    """The features that only a union of spaces has: each argument, the parameters of the unshared
    variant, the operations where they are known, and for each role the share of its sites that
    share with another one.
    """

    def __init__(self, space: VariantSpace) -> None:
        self._space = space
        self._roles = space.roles.of
        self._sites = {variant: Counter(roles.values()) for variant, roles in self._roles.items()}

    def group_keys(self, space: SearchSpace) -> list[Role]:
        """What names the isomorphic groups of a variant in all others: the role of their first
        sites.
        """
        roles = self._roles[space.variant]
        return [roles[group[0].name] for group in space.groups]

    def names(self) -> Iterator[Name]:
        """Of all the features."""
        for variant in self._space.members:
            yield from (name for name, _ in self._of_variant(variant))
        yield ("macs",)
        for sites in self._sites.values():
            yield from (("tied", role) for role in sites)

    def values(self, plan: SharingPlan) -> Iterator[tuple[Name, float]]:
        """Those of a plan that are not 0; what comes several times is summed up."""
        yield from self._of_variant(plan.variant)
        if self._space.has_costs:
            yield ("macs",), math.log(self._space.macs(plan))
        roles, sites = self._roles[plan.variant], self._sites[plan.variant]
        for bank in plan.banks:
            for name in bank.sites:
                yield ("tied", roles[name]), 1 / sites[roles[name]]

    def _of_variant(self, variant: Variant) -> Iterator[tuple[Name, float]]:
        yield ("unshared",), math.log(self._space.members[variant].unshared)
        for name, value in variant:
            if isinstance(value, bool | str) or value <= 0:
                yield ("argument", name, value), 1.0
            else:
                yield ("argument", name), math.log2(value)
