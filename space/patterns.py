"""The sharing patterns of the papers, as functions from the sites of a network to a plan.

A pattern fits every depth and width of the networks it was published for. Blocks are recognised by
the names of their convolutions: ``stages.2.1.conv1`` or ``layer2.1.conv1`` is the first one of the
second block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, isomorphic_groups

Pattern = Callable[[Sequence[Site]], SharingPlan]

IN_BLOCK = re.compile(r"(?:stages\.|layer)(?P<stage>\d+)\.(?P<block>\d+)\.conv(?P<place>\d)")
ORTHOGONAL = {"orthogonality": 10.0}
"""Kang and Kim keep the filters of shared kernels orthonormal."""
IN_DENSE_BLOCK = re.compile(r"features\.denseblock(?P<block>\d+)\.denselayer\d+\.conv2")
EXPANSION = re.compile(r"features\.\d+\.conv\.0\.0")
PROJECTION = re.compile(r"features\.\d+\.conv\.2")


def kernels(*stages: str, method: str = "kernel", **options: Any) -> Pattern:
    """One bank for each isomorphic group of convolutions, or only for those whose names start with
    ``stages``.
    """

    def plan(sites: Sequence[Site]) -> SharingPlan:
        groups = isomorphic_groups(_convolutions(sites))
        chosen = (group for group in groups if group[0].name.startswith(stages or ""))
        return _plan(chosen, method, options)

    return plan


def later_blocks(*places: str, **options: Any) -> Pattern:
    """One kernel for the convolutions at the same place of all blocks of a stage but the first.

    places: 2 for the 3x3 convolutions of bottlenecks, 3 for their last 1x1.
    """

    def plan(sites: Sequence[Site]) -> SharingPlan:
        found = _by_stage(sites, key=lambda match: (match["stage"], match["place"]))
        return _plan((group for (_, place), group in found if place in places), "kernel", options)

    return plan


def basis(shared_rank: int, unique_rank: int, double: bool = False, **options: Any) -> Pattern:
    """Filter bases for the 3x3 convolutions of all blocks of a stage but the first.

    The ranks are those of the first stage and grow with the channels. double: the first and the
    second convolutions of the blocks have a basis of their own.
    """

    def plan(sites: Sequence[Site]) -> SharingPlan:
        found = _by_stage(
            sites, key=lambda match: (match["stage"], match["place"] if double else "")
        )
        banks = []
        for _, group in found:
            factor = group[0].out_channels // found[0][1][0].out_channels
            ranks = {"shared_rank": shared_rank * factor, "unique_rank": unique_rank * factor}
            names = tuple(site.name for site in group)
            banks.append(Bank("filter_basis", {**ranks, **options}, names))
        return SharingPlan(tuple(banks))

    return plan


def dense_basis(shared_rank: int, unique_rank: int) -> Pattern:
    """DenseNet-121: a basis for the 3x3 convolutions of each dense block; the last two blocks have
    one together.
    """

    def plan(sites: Sequence[Site]) -> SharingPlan:
        found = [(match, site) for site in sites if (match := IN_DENSE_BLOCK.fullmatch(site.name))]
        groups = groupby(found, key=lambda pair: min(int(pair[0]["block"]), 3))
        options = {"shared_rank": shared_rank, "unique_rank": unique_rank}
        banks = ([site for _, site in group] for _, group in groups)
        return _plan(banks, "filter_basis", {**options, "orthogonal_unique": False})

    return plan


def inverted(projections: bool = False) -> Pattern:
    """MobileNetV2: one kernel for the expanding 1x1 convolutions of the later blocks of a stage,
    from the third stage on; with ``projections`` another one for their last 1x1.
    """

    def plan(sites: Sequence[Site]) -> SharingPlan:
        wide = [site for site in sites if max(site.in_channels, site.out_channels) >= 192]
        widening = [site for site in wide if EXPANSION.fullmatch(site.name)]
        narrowing = [site for site in wide if PROJECTION.fullmatch(site.name) and projections]
        # The last one that widens from a width is of the next stage's first block.
        stages = [list(group) for _, group in groupby(widening, key=lambda site: site.in_channels)]
        groups = [group[:-1] for group in stages if len(group) > 1]
        return _plan([*groups, *isomorphic_groups(narrowing)], "kernel", ORTHOGONAL)

    return plan


def shared_filters(sites: Sequence[Site]) -> SharingPlan:
    """One kernel for the convolutions named ``shared`` of a stage: filters that others read."""
    found = [site for site in sites if site.name.endswith(".shared")]
    return _plan(isomorphic_groups(found), "kernel", ORTHOGONAL)


def generator(slice_size: int, code_size: int, **options: Any) -> Pattern:
    """A slice generator for all 3x3 convolutions but the first convolution of the network."""

    def plan(sites: Sequence[Site]) -> SharingPlan:
        names = tuple(site.name for site in sites[1:] if site.kernel_size == (3, 3))
        sizes = {"slice_size": slice_size, "code_size": code_size}
        return SharingPlan((Bank("slice_generator", {**sizes, **options}, names),) if names else ())

    return plan


def mixed_regulators(sites: Sequence[Site]) -> SharingPlan:
    """One anchor for each isomorphic group, a regulator after each block's second normalisation."""
    return kernels(method="anchored", every=2, regulator_after="batch_norm")(sites)


def unshared(_: Sequence[Site]) -> SharingPlan:
    """No bank at all."""
    return SharingPlan()


def _by_stage(
    sites: Sequence[Site], key: Callable[[re.Match[str]], tuple[str, str]]
) -> list[tuple[tuple[str, str], list[Site]]]:
    """The isomorphic convolutions of blocks but the first, by ``key``, in the order of stages."""
    groups: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        match = IN_BLOCK.fullmatch(site.name)
        if match and match["block"] != "0":
            groups.setdefault(key(match), []).append(site)
    return list(groups.items())


def _convolutions(sites: Sequence[Site]) -> list[Site]:
    """What the papers share: they leave squeeze-excitation and heads alone."""
    return [site for site in sites if site.is_image_convolution]


def _plan(groups: Any, method: str, options: dict[str, Any]) -> SharingPlan:
    return SharingPlan(
        tuple(Bank(method, options, tuple(site.name for site in group)) for group in groups)
    )
