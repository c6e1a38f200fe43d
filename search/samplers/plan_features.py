"""A plan as numbers that respect its partition: what the surrogate of the accuracy looks at.

Whether two sites share says more than which label a bank has, so each pair of isomorphic sites is a
feature: same bank, or not. Beside them stand, for each isomorphic group, the share of its kernels
that it saves and the share of its sites that each method has; for each option its mean over the
sites that have it; and the logarithm of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace

Features = NDArray[np.float64]

WEIGHT_OF_A_PAIR = 0.2
"""Beside the other features, each with the weight 1: there are many pairs, and which of them share
says less than how many do (docs/decisions.md)."""
Name = tuple[object, ...]


class PlanFeatures:
    """Features of the plans of one space; those of each plan are computed once."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        groups = [[site.name for site in group] for group in space.groups]
        self._size = {name: len(group) for group in groups for name in group}
        self._group = {name: place for place, group in enumerate(groups) for name in group}
        self._columns = {name: place for place, name in enumerate(self._names(groups))}
        self._places: dict[SharingPlan, int] = {}
        self._matrix: Features = np.zeros((64, len(self._columns)))
        self.weights = np.array(
            [WEIGHT_OF_A_PAIR if name[0] == "together" else 1.0 for name in self._columns]
        )

    def __call__(self, plans: Sequence[SharingPlan]) -> Features:
        """(plans, features)."""
        places = [self._place(plan) for plan in plans]
        return self._matrix[places]

    def _names(self, groups: Sequence[Sequence[str]]) -> Iterator[Name]:
        yield ("parameters",)
        for place, group in enumerate(groups):
            yield ("saved", place)
            yield from (("together", *pair) for pair in combinations(group, 2))
        places = (*range(len(groups)), None)  # None: sites that are isomorphic to no other
        names: dict[Name, None] = {}
        for offer in self._space.offers:
            names.update({("method", offer.method, place): None for place in places})
            for option, value in offer.options:
                names[(offer.method, option, _level(value))] = None
        yield from names

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
        for bank in plan.banks:
            for pair in combinations(bank.sites, 2):
                self._add(row, ("together", *pair), 1.0)
            for name in bank.sites[1:]:
                self._add(row, ("saved", self._group.get(name)), 1 / self._size.get(name, 1))
            for name in bank.sites:
                share = 1 / self._size.get(name, 1)
                self._add(row, ("method", bank.method, self._group.get(name)), share)
                for option, value in bank.options.items():
                    number = 1.0 if _level(value) is not None else math.log2(1 + float(value))
                    self._add(row, (bank.method, option, _level(value)), share * number)
        return row

    def _add(self, row: Features, name: Name, number: float) -> None:
        """Names that are no column (sites of different groups in one bank) are left out."""
        column = self._columns.get(name)
        if column is not None:
            row[column] += number


def _level(value: object) -> object:
    """What names the column of an option: its value, unless that is a number."""
    return value if isinstance(value, bool | str) else None
