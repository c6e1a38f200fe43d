"""What sharing is expected to cost: scores of banks that were measured, and of plans made of them.

Read without torch. Measured are all pairs of a group and a few larger banks, for each method with
its options; any other bank costs what one of its size does, more or less as its pairs cost more or
less than the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isoshare.space.errors import IsoshareError
from isoshare.space.plan import Bank, SharingPlan

Numbers = NDArray[np.float64]
Weights = Mapping[tuple[str, str], float]
"""What the pairs of some sites count, by their names in module order."""
Key = TypeVar("Key")
Config = tuple[str, tuple[tuple[str, Any], ...]]
"""A method with its complete options, sorted."""
NOTHING = 1e-6
"""Pairs that cost less are tied without loss: then nothing follows from how they differ."""
DIGITS = 6
"""Significant ones of what is measured: what is beyond depends on the order of the sums."""
BITS = 10
"""Significant ones of what a bank costs: plans that differ by less are equally good, as what lies
beyond depends on numbers of threads. In binary digits, so that sums over banks are exact."""


@dataclass(frozen=True)
class GroupScores:
    """Of one method with one set of options in one isomorphic group.

    sites: their names in module order. pairs: for each two places, the lower first, what their bank
    costs. levels: what an average bank of so many sites costs; of two, and of all, at least.
    """

    method: str
    options: Mapping[str, Any]
    sites: tuple[str, ...]
    pairs: Mapping[tuple[int, int], float]
    levels: Mapping[int, float]

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """What pairs cost, (sites, sites), symmetric; zero on the diagonal."""
        found = np.zeros((len(self.sites), len(self.sites)))
        for (first, second), score in self.pairs.items():
            found[first, second] = found[second, first] = score
        return found

    def bank(self, places: Sequence[int]) -> float:
        """What a bank of the sites at these places costs."""
        index = np.asarray(places)
        pairs = self.matrix[np.ix_(index, index)].sum() / 2
        return float(self.composed(pairs, np.asarray(len(places))))

    def composed(self, pairs: Numbers | float, sizes: NDArray[np.int64]) -> Numbers:
        """What banks of ``sizes`` cost whose pairs cost ``pairs`` in sum; of one site nothing.

        Pairs have what was measured.
        """
        return _steady(self._composed(pairs, sizes))

    def _composed(self, pairs: Numbers | float, sizes: NDArray[np.int64]) -> Numbers:
        known = np.array(sorted(self.levels))
        level = np.interp(sizes, [1, *known], [0.0, *(self.levels[size] for size in known)])
        if self.levels[2] <= NOTHING:
            return np.where(sizes == 2, pairs, level)
        mean = pairs / np.maximum(sizes * (sizes - 1) / 2, 1)
        return np.where(sizes > 1, level * (mean / self.levels[2]), 0.0)

    def weighed(self, weights: Weights) -> GroupScores:
        """The same where pairs count; larger banks cost more by what an average pair does."""
        pairs = {
            (one, other): score * weights.get((self.sites[one], self.sites[other]), 1.0)
            for (one, other), score in self.pairs.items()
        }
        before, mean = self.levels[2], sum(pairs.values()) / len(pairs)
        share = mean / before if before > NOTHING else 1.0
        levels = {size: level * share for size, level in self.levels.items()}
        return replace(self, pairs=pairs, levels=levels)


@dataclass(frozen=True)
class PlanScores:
    """The scores of a network.

    groups: of the methods that divide groups; wide: of network-wide methods, for each site that
    may join. conditions: how they were measured, and on what.
    """

    groups: tuple[GroupScores, ...]
    wide: Mapping[Config, Mapping[str, float]] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _known(self) -> dict[tuple[Config, str], GroupScores]:
        return {
            (config_of(one.method, one.options), name): one
            for one in self.groups
            for name in one.sites
        }

    def bank(self, method: str, options: Mapping[str, Any], sites: Sequence[str]) -> float:
        """What one bank costs. Raises IsoshareError for one that the scores say nothing of."""
        config = config_of(method, options)
        if config in self.wide:
            return sum(float(_steady(self.wide[config][name])) for name in sites)
        known = self.group(method, options, sites[0])
        return known.bank([known.sites.index(name) for name in sites])

    def group(self, method: str, options: Mapping[str, Any], site: str) -> GroupScores:
        """The scores of one method in the group of ``site``. Raises IsoshareError."""
        known: GroupScores | None = self._known.get((config_of(method, options), site))
        if known is None:
            raise IsoshareError(
                f"there is no score of method {method!r} with {dict(options)} for {site!r}: "
                "measure the network again with this method among --methods"
            )
        return known

    def plan(self, plan: SharingPlan) -> float:
        """What a plan costs, the sum over its banks: 0 without any. Raises IsoshareError."""
        return sum(self._of(bank) for bank in plan.banks)

    def _of(self, bank: Bank) -> float:
        return self.bank(bank.method, bank.options, bank.sites)

    def weighed(self, weights: Weights) -> PlanScores:
        """The same where pairs count, and a site of a network-wide bank as its pairs on average."""
        of_site = {
            name: [weight for pair, weight in weights.items() if name in pair]
            for sites in self.wide.values()
            for name in sites
        }
        wide = {
            config: {name: score * _mean(of_site[name]) for name, score in sites.items()}
            for config, sites in self.wide.items()
        }
        return replace(self, groups=tuple(one.weighed(weights) for one in self.groups), wide=wide)

    def rounded(self) -> PlanScores:
        """To as many digits as do not depend on the order of the sums."""
        groups = (
            replace(one, pairs=_rounded(one.pairs), levels=_rounded(one.levels))
            for one in self.groups
        )
        wide = {config: _rounded(sites) for config, sites in self.wide.items()}
        return replace(self, groups=tuple(groups), wide=wide)

    def document(self) -> dict[str, Any]:
        """The scores as JSON values."""
        return {
            "conditions": dict(self.conditions),
            "groups": [
                {
                    "method": one.method,
                    "options": dict(one.options),
                    "sites": list(one.sites),
                    "pairs": [[*pair, score] for pair, score in one.pairs.items()],
                    "levels": [[size, score] for size, score in one.levels.items()],
                }
                for one in self.groups
            ],
            "wide": [
                {"method": method, "options": dict(options), "sites": dict(scores)}
                for (method, options), scores in self.wide.items()
            ],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> PlanScores:
        """The inverse of ``document``."""
        groups = (
            GroupScores(
                one["method"],
                one["options"],
                tuple(one["sites"]),
                {(first, second): score for first, second, score in one["pairs"]},
                dict(one["levels"]),
            )
            for one in document["groups"]
        )
        wide = {config_of(one["method"], one["options"]): one["sites"] for one in document["wide"]}
        return cls(tuple(groups), wide, document["conditions"])


def config_of(method: str, options: Mapping[str, Any]) -> Config:
    """The key of a method with its options."""
    return method, tuple(sorted(options.items()))


def _steady(scores: Numbers | float) -> Numbers:
    """To ``BITS``; nothing where they are next to nothing."""
    mantissas, exponents = np.frexp(np.where(np.abs(scores) < NOTHING, 0.0, scores))
    found: Numbers = np.ldexp(np.rint(np.ldexp(mantissas, BITS)), exponents - BITS)
    return found


def _mean(weights: Sequence[float]) -> float:
    return sum(weights) / len(weights) if weights else 1.0


def _rounded(scores: Mapping[Key, float]) -> dict[Key, float]:
    return {key: float(f"{score:.{DIGITS}g}") for key, score in scores.items()}
