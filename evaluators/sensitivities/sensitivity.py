"""Measure once what sharing costs a trained network, so that plans can be chosen without training.

For each method with its options, and each pair of sites that it could tie, the trained kernels are
projected onto a bank, and it is computed how far the outputs of the sites move: from the covariance
of their inputs on a few hundred images, with mean and scale of each channel left to the batch
normalisation (site_statistics.py). Whole groups are measured too; what lies between is
composed (plan_scores.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from isoshare.evaluators.sensitivities.plan_scores import NOTHING, GroupScores, PlanScores
from isoshare.evaluators.sensitivities.site_statistics import Loss, SiteStatistics, site_statistics
from isoshare.space.apply import apply_plan
from isoshare.space.choices.method_choices import MethodConfig
from isoshare.space.errors import IsoshareError
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site, describe, registered_after

IMAGES = 512
"""Inputs that the command line measures with; some positions of each are looked at."""
DIGITS = 6
"""Significant ones of a score: what is beyond depends on the order of the sums."""
Heard = Callable[[int, int], None]
Key = TypeVar("Key")


def score_sharing(
    network: nn.Module,
    space: SearchSpace,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss | None = None,
    heard: Heard | None = None,
) -> PlanScores:
    """What each bank of ``space`` is expected to cost the trained ``network``.

    batches: inputs and targets, some hundred images in all, in any order and of any sizes. loss: of
    outputs and targets, a mean over images; with it a score is the loss that is expected to be
    added, without it how far outputs move in units of their variance (by which plans were
    ordered better: docs/decisions.md). heard: is told how many of how many offers are measured.
    """
    _check_kinds(space)
    scored = [site for site in space.sites if site.kind != "transposed"]
    statistics = site_statistics(network, scored, batches, loss)
    _check_called(space, statistics)
    measure = _Measure(network, {site.name: site for site in space.sites}, statistics)
    offers = [
        (group.sites, offer.method, dict(offer.options))
        for group in space.group_spaces
        for offer in group.offers
    ]
    wide = space.wide.offers
    total, groups, network_wide = len(offers) + len(wide), [], {}
    for place, (sites, method, options) in enumerate(offers):
        groups.append(measure.group(sites, method, options))
        if heard:
            heard(place + 1, total)
    for place, one in enumerate(wide, start=len(offers)):
        banks = space.wide.joining(one)
        network_wide[one.method, one.options] = measure.everywhere(banks, one)
        if heard:
            heard(place + 1, total)
    return PlanScores(tuple(groups), network_wide)


class _Measure:
    """Projects banks of a network, each beside nothing but what its sites need."""

    def __init__(
        self,
        network: nn.Module,
        sites: Mapping[str, Site],
        statistics: Mapping[str, SiteStatistics],
    ) -> None:
        self.network, self.sites, self.statistics = network, sites, statistics

    def group(self, sites: Sequence[Site], method: str, options: Mapping[str, Any]) -> GroupScores:
        """All pairs, and evenly spread banks of growing sizes, of an isomorphic group."""
        pairs = {
            pair: sum(self.bank([sites[place] for place in pair], method, options).values())
            for pair in combinations(range(len(sites)), 2)
        }
        names = tuple(site.name for site in sites)
        levels = {2: sum(pairs.values()) / len(pairs)}
        for size in _sizes(len(sites)):
            places = [round(step * (len(sites) - 1) / (size - 1)) for step in range(size)]
            found = self.bank([sites[place] for place in places], method, options)
            mean = sum(pairs[pair] for pair in combinations(places, 2)) * 2 / (size * (size - 1))
            likeness = mean / levels[2] if levels[2] > NOTHING else 1.0
            levels[size] = sum(found.values()) / max(likeness, NOTHING)
        return GroupScores(method, dict(options), names, _rounded(pairs), _rounded(levels))

    def everywhere(self, banks: Sequence[Sequence[str]], offer: MethodConfig) -> dict[str, float]:
        """The sites of network-wide banks, one bank for each kernel size."""
        found: dict[str, float] = {}
        for names in banks:
            found |= self.bank(
                [self.sites[name] for name in names], offer.method, dict(offer.options)
            )
        return _rounded(found)

    def bank(
        self, sites: Sequence[Site], method: str, options: Mapping[str, Any]
    ) -> dict[str, float]:
        """How far the output of each site of one bank moves."""
        alone = nn.ModuleList()
        renamed = []
        for site in sites:
            renamed.append(replace(site, name=str(len(alone))))
            conv = self.network.get_submodule(site.name)
            alone.extend(copy.deepcopy(part) for part in (conv, self._norm(site)))
        bank = Bank(method, options, tuple(site.name for site in renamed))
        parts: list[Any] = [alone.get_submodule(site.name) for site in renamed]
        kernels = [part.weight.detach() for part in parts]
        importance = [self._importance(site) for site in sites]
        with torch.random.fork_rng():
            torch.manual_seed(0)  # for generators that stay random
            shared = apply_plan(alone, SharingPlan((bank,)), weights="fresh")
        project = METHODS[method].implementation.project
        made = project(shared, renamed, bank.options, kernels, importance)
        return {
            site.name: self.statistics[site.name].error(kernel, found)
            for site, kernel, found in zip(sites, kernels, made, strict=True)
        }

    def _norm(self, site: Site) -> nn.Module:
        """The normalisation beside it, where a method may put something."""
        norm = registered_after(self.network, site)
        return norm if isinstance(norm, nn.BatchNorm2d) else nn.Identity()

    def _importance(self, site: Site) -> Tensor:
        """The variance of what each element of the kernel is multiplied with."""
        conv: Any = self.network.get_submodule(site.name)
        diagonal = self.statistics[site.name].covariance.diagonal(dim1=-2, dim2=-1)
        rows = diagonal.repeat_interleave(site.out_channels // site.groups, 0)
        return rows.view_as(conv.weight).to(conv.weight)


def _check_kinds(space: SearchSpace) -> None:
    """Raise IsoshareError for what can be shared and not be scored."""
    for group in space.groups:
        if group[0].kind == "transposed":
            raise IsoshareError(
                "sensitivities are computed of linear layers and convolutions that are not "
                f"transposed, but {describe(group[0])}: search this network with 'launch' instead"
            )


def _check_called(space: SearchSpace, statistics: Mapping[str, SiteStatistics]) -> None:
    """Raise IsoshareError for what is shared and was not seen at work: it would seem to be free."""
    for offers in space.group_spaces:
        for site in offers.sites:
            if (offers.offers or space.wide.offers) and not statistics[site.name].was_called:
                raise IsoshareError(
                    f"{site.name!r} was not called on any of the inputs, or its owner reads its "
                    "weight without calling it, so nobody knows what sharing it would cost: search "
                    "this network with 'launch' instead"
                )


def _sizes(sites: int) -> list[int]:
    """Of the larger banks that are measured: all up to eight sites, then by half as many more."""
    sizes = [size for size in (3, 4, 5, 6, 7, 8) if size <= sites]
    while sizes and sizes[-1] < sites:
        sizes.append(min(sites, sizes[-1] * 3 // 2))
    return sizes


def _rounded(scores: Mapping[Key, float]) -> dict[Key, float]:
    return {key: float(f"{score:.{DIGITS}g}") for key, score in scores.items()}
