"""Measure once what sharing costs a trained network, so that plans can be chosen without training.

For each method with its options, and each pair of sites that it could tie, the trained kernels are
projected onto a bank, and it is computed how far the outputs of the sites move: from the covariance
of their inputs on a few hundred images, with mean and scale of each channel left to the batch
normalisation (site_statistics.py). Banks of growing sizes are measured too, after their outputs
were matched (output_matching.py), as a plan that inherits is; what lies between is composed
(plan_scores.py). With a loss, pairs count by what tying them adds to it (pair_losses.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import nn

from isoshare.evaluators.sensitivities.bank_projection import BankProjection
from isoshare.evaluators.sensitivities.pair_losses import Loss, pair_weights
from isoshare.evaluators.sensitivities.plan_scores import NOTHING, GroupScores, PlanScores
from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics, site_statistics
from isoshare.space.choices.method_choices import MethodConfig
from isoshare.space.errors import IsoshareError
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site, describe

WAY_OUT = "'launch' searches this network, without --solve-first"
MATCHING_WORK = 3e10
"""Multiply-accumulates of one step up to which banks are scored as they are after their outputs
were matched, some two minutes of one core: enough for a ResNet-20. A rule, not a timing."""
Heard = Callable[[int, int], None]


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
    outputs and targets, a mean over images; with it pairs count more that add more loss when they
    are tied. heard: is told how many of how many steps are done.
    """
    _check_kinds(space)
    kept = batches if loss is None else list(batches)
    scored = [site for site in space.sites if site.kind != "transposed"]
    statistics = site_statistics(network, scored, kept)
    _check_called(space, statistics)
    projection = BankProjection(network, statistics)
    measure = _Measure(projection, space.sites, _matching_work(space) <= MATCHING_WORK)
    offers = [
        (group.sites, offer.method, dict(offer.options))
        for group in space.group_spaces
        for offer in group.offers
    ]
    wide = space.wide.offers
    told = heard or (lambda _done, _of: None)
    pairs = [] if loss is None else tied_pairs(space)
    offered, groups, network_wide = len(offers) + len(wide), [], {}
    total = offered + len(pairs)
    for place, (sites, method, options) in enumerate(offers):
        groups.append(measure.group(sites, method, options))
        told(place + 1, total)
    for place, one in enumerate(wide, start=len(offers)):
        banks = space.wide.joining(one)
        network_wide[one.method, one.options] = measure.everywhere(banks, one)
        told(place + 1, total)
    scores = PlanScores(tuple(groups), network_wide)
    if loss is not None:
        found = pair_weights(
            projection, pairs, list(kept), loss, lambda done: told(offered + done, total)
        )
        scores = scores.weighed(found)
    told(total, total)
    return scores.rounded()


def _matching_work(space: SearchSpace) -> int:
    """Multiply-accumulates of one step of all banks that would be matched."""
    in_groups = sum(
        size * len(group.offers) * _step_work(group.sites[0])
        for group in space.group_spaces
        for size in (2, *_sizes(len(group.sites)))
    )
    sites = {site.name: site for site in space.sites}
    network_wide = sum(
        _step_work(sites[name])
        for offer in space.wide.offers
        for names in space.wide.joining(offer)
        for name in names
    )
    return in_groups + network_wide


def _step_work(site: Site) -> int:
    """Of a kernel times the covariance of its inputs."""
    return site.kernel_parameters**2 // site.out_channels


def tied_pairs(space: SearchSpace) -> list[tuple[Site, Site]]:
    """The sites that a plan may tie, two by two, in module order."""
    groups = [one for one in space.group_spaces if one.offers or space.wide.offers]
    return [pair for group in groups for pair in combinations(group.sites, 2)]


class _Measure:
    """Measures what a space offers, by how far outputs move."""

    def __init__(self, projection: BankProjection, sites: Sequence[Site], matched: bool) -> None:
        self.projection, self.sites = projection, {site.name: site for site in sites}
        self.matched = matched

    def group(self, sites: Sequence[Site], method: str, options: Mapping[str, Any]) -> GroupScores:
        """All pairs, and evenly spread banks of growing sizes, of an isomorphic group."""
        pairs = {
            pair: self._bank([sites[place] for place in pair], method, options)
            for pair in combinations(range(len(sites)), 2)
        }
        names = tuple(site.name for site in sites)
        usual = sum(pairs.values()) / len(pairs)
        levels, larger = {2: usual}, _sizes(len(sites))
        for size in (2, *larger) if self.matched else larger:
            places = [round(step * (len(sites) - 1) / (size - 1)) for step in range(size)]
            found = self._bank([sites[place] for place in places], method, options, self.matched)
            mean = sum(pairs[pair] for pair in combinations(places, 2)) * 2 / (size * (size - 1))
            likeness = mean / usual if usual > NOTHING else 1.0
            if size > 2 or likeness > NOTHING:  # a pair without loss says nothing of the others
                levels[size] = found / max(likeness, NOTHING)
        if usual > NOTHING:  # pairs are told apart unmatched: there are too many to match them all
            pairs = {pair: score * levels[2] / usual for pair, score in pairs.items()}
        return GroupScores(method, dict(options), names, pairs, levels)

    def everywhere(self, banks: Sequence[Sequence[str]], offer: MethodConfig) -> dict[str, float]:
        """The sites of network-wide banks, one bank for each kernel size."""
        found: dict[str, float] = {}
        for names in banks:
            sites = [self.sites[name] for name in names]
            options = dict(offer.options)
            found |= self.projection.moved(sites, offer.method, options, matched=self.matched)
        return found

    def _bank(
        self, sites: Sequence[Site], method: str, options: Mapping[str, Any], matched: bool = False
    ) -> float:
        return sum(self.projection.moved(sites, method, options, matched=matched).values())


def _check_kinds(space: SearchSpace) -> None:
    """Raise IsoshareError for what can be shared and not be scored."""
    for group in space.groups:
        if group[0].kind == "transposed":
            raise IsoshareError(
                "sensitivities are computed of linear layers and convolutions that are not "
                f"transposed, but {describe(group[0])}: {WAY_OUT}"
            )


def _check_called(space: SearchSpace, statistics: Mapping[str, SiteStatistics]) -> None:
    """Raise IsoshareError for what is shared and was not seen at work: it would seem to be free."""
    for offers in space.group_spaces:
        for site in offers.sites:
            if (offers.offers or space.wide.offers) and not statistics[site.name].was_called:
                raise IsoshareError(
                    f"{site.name!r} was not called on any of the inputs, or its owner reads its "
                    "weight without calling it, so nobody knows what sharing it would cost: "
                    f"{WAY_OUT}"
                )


def _sizes(sites: int) -> list[int]:
    """Of the larger banks that are measured: all up to eight sites, then by half as many more."""
    sizes = [size for size in (3, 4, 5, 6, 7, 8) if size <= sites]
    while sizes and sizes[-1] < sites:
        sizes.append(min(sites, sizes[-1] * 3 // 2))
    return sizes
