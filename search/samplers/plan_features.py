"""A plan as numbers that respect its partition: what the surrogate of the accuracy looks at.

Whether two sites share says more than which label a bank has, so each pair of isomorphic sites is a
feature: same bank, or not. Beside them stand, for each isomorphic group, the share of its kernels
that it saves and the share of its sites that each method has; for each option its mean over the
sites that have it; and the logarithm of the parameters.

Where a search varies the arguments of its backbone, groups and pairs of several variants are the
same where they have one role or one name, so that what one variant tells is believed of the others;
arguments, the size of the unshared variant, operations, and the share of the sites of each role
that share tell them apart (search/samplers/variant_features.py).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from isoshare.search.samplers.variant_features import VariantFeatures
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.variants.variant_space import Space, VariantSpace

Features = NDArray[np.float64]

WEIGHT_OF_A_PAIR = 0.2
"""Beside the other features, each with the weight 1: there are many pairs, and which of them share
says less than how many do (docs/decisions.md)."""
Name = tuple[object, ...]


class _Groups:
    """The isomorphic groups of one network: ``of`` the key of a site's group, ``size`` how many
    sites are in it. Groups of several variants with one key are one group.
    """

    def __init__(self, space: SearchSpace, keys: Sequence[Hashable]) -> None:
        self.names = [[site.name for site in group] for group in space.groups]
        self.keys = list(keys)
        pairs = list(zip(self.keys, self.names, strict=True))
        self.of = {name: key for key, group in pairs for name in group}
        self.size = {name: len(group) for group in self.names for name in group}


class PlanFeatures:
    """Features of the plans of one space; those of each plan are computed once."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._variants = VariantFeatures(space) if isinstance(space, VariantSpace) else None
        self._groups = {one.variant: self._groups_of(one) for one in space.members.values()}
        self._columns = {name: place for place, name in enumerate(dict.fromkeys(self._names()))}
        self._places: dict[SharingPlan, int] = {}
        self._matrix: Features = np.zeros((64, len(self._columns)))
        self.weights = np.array(
            [WEIGHT_OF_A_PAIR if name[0] == "together" else 1.0 for name in self._columns]
        )

    def __call__(self, plans: Sequence[SharingPlan]) -> Features:
        """(plans, features)."""
        places = [self._place(plan) for plan in plans]
        return self._matrix[places]

    def _groups_of(self, space: SearchSpace) -> _Groups:
        if self._variants is None:
            return _Groups(space, range(len(space.groups)))
        return _Groups(space, self._variants.group_keys(space))

    def _names(self) -> Iterator[Name]:
        yield ("parameters",)
        for groups in self._groups.values():
            for key, group in zip(groups.keys, groups.names, strict=True):
                yield ("saved", key)
                yield from (("together", *pair) for pair in combinations(group, 2))
        keys = dict.fromkeys(key for groups in self._groups.values() for key in groups.keys)
        for offer in self._space.offers:
            for key in (*keys, None):  # None: sites that are isomorphic to no other
                yield ("method", offer.method, key)
            for option, value in offer.options:
                yield (offer.method, option, _level(value))
        if self._variants is not None:
            yield from self._variants.names()

    def _place(self, plan: SharingPlan) -> int:
        """The row of a plan in the matrix, which grows by doubling."""
        place = self._places.get(plan)
        if place is None:
            self._places[plan] = place = len(self._places)
            if place == len(self._matrix):
                self._matrix = np.vstack([self._matrix, np.zeros_like(self._matrix)])
            self._matrix[place] = self._features(plan)
        return place

    def _features(self, plan: SharingPlan) -> Features:
        row = np.zeros(len(self._columns))
        parameters = self._space.trainable_parameters(plan)
        row[self._columns["parameters",]] = math.log(parameters / self._space.unshared)
        groups = self._groups[plan.variant]
        for bank in plan.banks:
            for pair in combinations(bank.sites, 2):
                self._add(row, ("together", *pair), 1.0)
            for name in bank.sites[1:]:
                self._add(row, ("saved", groups.of.get(name)), 1 / groups.size.get(name, 1))
            for name in bank.sites:
                share = 1 / groups.size.get(name, 1)
                self._add(row, ("method", bank.method, groups.of.get(name)), share)
                for option, value in bank.options.items():
                    number = 1.0 if _level(value) is not None else math.log2(1 + float(value))
                    self._add(row, (bank.method, option, _level(value)), share * number)
        if self._variants is not None:
            for column, number in self._variants.values(plan):
                self._add(row, column, number)
        return row

    def _add(self, row: Features, name: Name, number: float) -> None:
        """Names that are no column (sites of different groups in one bank) are left out."""
        column = self._columns.get(name)
        if column is not None:
            row[column] += number


def _level(value: object) -> object:
    """What names the column of an option: its value, unless that is a number."""
    return value if isinstance(value, bool | str) else None
