"""Fronts of cost against score of some groups, and how those of several groups are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoshare.search.solver.group_options import Family, GroupOption

JOINED = -1
"""In place of the number of a group's own option: it has joined the network-wide bank."""


@dataclass(frozen=True)
class PlanFront:
    """The best combinations of some groups, by rising cost and falling score.

    choices: for each combination the place of the option of each group, (combinations, groups).
    """

    costs: NDArray[np.float64]
    scores: NDArray[np.float64]
    choices: NDArray[np.int32]

    @classmethod
    def best(cls, costs: NDArray[Any], scores: NDArray[Any], choices: NDArray[Any]) -> PlanFront:
        """Without those that something cheaper is at least as good as."""
        order = np.lexsort((scores, costs))
        sorted_scores = scores[order]
        before = np.minimum.accumulate(np.concatenate([[np.inf], sorted_scores[:-1]]))
        kept = order[sorted_scores < before]
        return cls(costs[kept], scores[kept], choices[kept])

    def __add__(self, other: PlanFront) -> PlanFront:
        """Each of these with each of the other groups'."""
        costs, scores = (
            np.add.outer(one, two).ravel()
            for one, two in ((self.costs, other.costs), (self.scores, other.scores))
        )
        places = np.arange(len(costs), dtype=np.int32)[:, None]
        kept = PlanFront.best(costs, scores, places)
        first, second = np.divmod(kept.choices[:, 0], len(other.costs))
        choices = np.concatenate([self.choices[first], other.choices[second]], axis=1)
        return PlanFront(kept.costs, kept.scores, choices)

    def __or__(self, other: PlanFront) -> PlanFront:
        """The best of two for the same groups."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return PlanFront.best(*(np.concatenate(pair) for pair in pairs))


def group_front(options: Sequence[GroupOption], objective: str) -> PlanFront:
    """Of one group by itself."""
    costs = np.array([option.costs[objective] for option in options], float)
    scores = np.array([option.score for option in options], float)
    return PlanFront.best(costs, scores, np.arange(len(options), dtype=np.int32)[:, None])


def family_front(family: Family, own: Sequence[PlanFront], objective: str) -> PlanFront:
    """Of the groups of one kernel size, which may join a network-wide bank: none does, or those
    that do pay its fixed part once. own: the fronts of these groups by themselves.
    """
    without = combined(own)
    if not family.joined:
        return without
    choices = []
    for place, front in zip(family.places, own, strict=True):
        if place not in family.joined:
            choices.append(front)
            continue
        option = family.joined[place]
        joined = PlanFront(
            np.array([option.costs[objective]], float),
            np.array([option.score], float),
            np.full((1, 1), JOINED, np.int32),
        )
        choices.append(front | joined)
    there = combined(choices)
    paid = PlanFront(there.costs + family.fixed[objective], there.scores, there.choices)
    return without | paid


def combined(fronts: Sequence[PlanFront]) -> PlanFront:
    """Of several groups, in their order."""
    return reduce(lambda one, other: one + other, fronts)
