"""Measure once what sharing costs a trained network, so that plans can be chosen without training.

For each method with its options, and each pair of sites that it could tie, the trained kernels are
projected onto a bank, and it is computed how far the outputs of the sites move: from the covariance
of their inputs on a few hundred images, with mean and scale of each channel left to the batch
normalisation (site_statistics.py). Banks of growing sizes are measured too, after their outputs
were matched (output_matching.py), as a plan that inherits is; what lies between is composed
(plan_scores.py). With a loss, pairs count by what tying them adds to it (pair_losses.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from itertools import accumulate, combinations
from typing import Any

from torch import nn

from isoshare.evaluators.sensitivities.bank_projection import BankProjection
from isoshare.evaluators.sensitivities.pair_losses import Loss, pair_weights
from isoshare.evaluators.sensitivities.plan_scores import NOTHING, GroupScores, PlanScores
from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics, site_statistics
from isoshare.space.choices.method_choices import MethodConfig
from isoshare.space.errors import IsoshareError
from isoshare.space.methods.parts.decomposition import remembering
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site, describe

WAY_OUT = "'launch' searches this network, without --solve-first"
MATCHING_WORK = 3e10
"""Multiply-accumulates of one step up to which banks are scored as they are after their outputs
were matched, some two minutes of one core: enough for a ResNet-20. A rule, not a timing."""
Heard = Callable[[int, int], None]
Moves = MutableMapping[str, dict[str, float]]
"""How far the outputs of a bank's sites move, by what the bank is."""


def score_sharing(  # noqa: PLR0913  what is measured on what, who listens, what is known
    network: nn.Module,
    space: SearchSpace,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss | None = None,
    heard: Heard | None = None,
    known: Moves | None = None,
) -> PlanScores:
    """What each bank of ``space`` is expected to cost the trained ``network``.

    batches: inputs and targets, some hundred images in all, in any order and of any sizes. loss: of
    outputs and targets, a mean over images; with it pairs count more that add more loss when they
    are tied. heard: is told how much of how much work is done. known: of banks of this network on
    these batches what was measured before, and is measured now.
    """
    _check_kinds(space)
    kept = batches if loss is None else list(batches)
    scored = [site for site in space.sites if site.kind != "transposed"]
    statistics = site_statistics(network, scored, kept)
    _check_called(space, statistics)
    projection = BankProjection(network, statistics)
    offers = [(group.sites, offer) for group in space.group_spaces for offer in group.offers]
    works = [*(_group_work(sites) for sites, _ in offers), *_wide_works(space)]
    is_matched = sum(works) <= MATCHING_WORK
    measure = _Measure(projection, space.sites, is_matched, {} if known is None else known)
    pairs = [] if loss is None else tied_pairs(space)
    done = list(accumulate([*works, *[max(1, sum(works) // len(works))] * len(pairs)], initial=0))

    def told(step: int) -> None:
        if heard is not None:
            heard(done[step], done[-1])

    groups, network_wide = [], {}
    with remembering():
        for step, (sites, offer) in enumerate(offers):
            told(step)
            groups.append(measure.group(sites, offer))
    for step, one in enumerate(space.wide.offers, start=len(offers)):
        told(step)
        banks = space.wide.joining(one)
        network_wide[one.method, one.options] = measure.everywhere(banks, one)
    scores = PlanScores(tuple(groups), network_wide)
    if loss is not None:
        asked = projection, pairs, list(kept), loss
        scores = scores.weighed(pair_weights(*asked, lambda pair: told(len(works) + pair)))
    told(len(done) - 1)
    return scores.rounded()


def _group_work(sites: Sequence[Site]) -> int:
    """Multiply-accumulates of one step of all banks of an offer that are measured."""
    return sum((2, *_sizes(len(sites)))) * _step_work(sites[0])


def _wide_works(space: SearchSpace) -> list[int]:
    """The same of each network-wide offer."""
    sites = {site.name: site for site in space.sites}
    return [
        sum(_step_work(sites[name]) for names in space.wide.joining(one) for name in names)
        for one in space.wide.offers
    ]


def _step_work(site: Site) -> int:
    """Of a kernel times the covariance of its inputs."""
    return site.kernel_parameters**2 // site.out_channels


def tied_pairs(space: SearchSpace) -> list[tuple[Site, Site]]:
    """The sites that a plan may tie, two by two, in module order."""
    groups = [one for one in space.group_spaces if one.offers or space.wide.offers]
    return [pair for group in groups for pair in combinations(group.sites, 2)]


class _Measure:
    """Measures what a space offers, by how far outputs move."""

    def __init__(
        self, projection: BankProjection, sites: Sequence[Site], matched: bool, known: Moves
    ) -> None:
        self.projection, self.sites = projection, {site.name: site for site in sites}
        self.matched, self.known = matched, known
        self._apart: dict[tuple[str, str], dict[tuple[int, int], float]] = {}

    def group(self, sites: Sequence[Site], offer: MethodConfig) -> GroupScores:
        """All pairs, and evenly spread banks of growing sizes, of an isomorphic group."""
        pairs = self._pairs(sites, offer)
        usual, levels = sum(pairs.values()) / len(pairs), dict[int, float]()
        for size in (2, *_sizes(len(sites))):
            places = [round(step * (len(sites) - 1) / (size - 1)) for step in range(size)]
            found = self._bank([sites[place] for place in places], offer, self.matched)
            mean = sum(pairs[pair] for pair in combinations(places, 2)) * 2 / (size * (size - 1))
            likeness = mean / usual if usual > NOTHING else 1.0
            # A pair without loss says nothing of the others.
            known = size > 2 or likeness > NOTHING
            levels[size] = found / max(likeness, NOTHING) if known else usual
        if usual > NOTHING:  # pairs are told apart unmatched: there are too many to match them all
            pairs = {pair: score * levels[2] / usual for pair, score in pairs.items()}
        names = tuple(site.name for site in sites)
        return GroupScores(offer.method, dict(offer.options), names, pairs, levels)

    def _pairs(self, sites: Sequence[Site], offer: MethodConfig) -> dict[tuple[int, int], float]:
        """What each pair costs beside the others, unmatched; in a large network, which is not
        matched, by the first options of a method for all of them.
        """
        known = sites[0].name, offer.method
        if self.matched or known not in self._apart:
            self._apart[known] = {
                pair: self._bank([sites[place] for place in pair], offer)
                for pair in combinations(range(len(sites)), 2)
            }
        return self._apart[known]

    def everywhere(self, banks: Sequence[Sequence[str]], offer: MethodConfig) -> dict[str, float]:
        """The sites of network-wide banks, one bank for each kernel size."""
        found: dict[str, float] = {}
        for names in banks:
            found |= self._moved([self.sites[name] for name in names], offer, self.matched)
        return found

    def _bank(self, sites: Sequence[Site], offer: MethodConfig, matched: bool = False) -> float:
        return sum(self._moved(sites, offer, matched).values())

    def _moved(self, sites: Sequence[Site], offer: MethodConfig, matched: bool) -> dict[str, float]:
        """How far the output of each site of a bank moves, measured once."""
        names = [site.name for site in sites]
        asked = offer.method, dict(offer.options)
        key = json.dumps([*asked, names, matched])
        if key not in self.known:
            self.known[key] = self.projection.moved(sites, *asked, matched=matched)
        return self.known[key]


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
