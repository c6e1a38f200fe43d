"""The sentences with which methods refuse sites."""

from __future__ import annotations

from collections.abc import Sequence

from isoshare.space.errors import PlanError
from isoshare.space.sites import Site, describe


def check_isomorphic(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError unless all sites have the shape of the first one."""
    first = sites[0]
    for site in sites:
        if site.signature != first.signature:
            raise PlanError(
                f"{_bank(method)} needs isomorphic sites: "
                f"{describe(first)}, but {describe(site)}; put them in different banks"
            )


def check_plain(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError for a subclass of ``nn.Conv2d``: what its forward does, nobody knows."""
    for site in sites:
        if site.subclass:
            raise PlanError(
                f"{_bank(method)} replaces how a convolution computes, but {site.name!r} is a "
                "subclass of nn.Conv2d with ways of its own; share it by method kernel, or not"
            )


def check_ungrouped(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError for a grouped convolution."""
    for site in sites:
        if site.groups > 1:
            raise PlanError(
                f"{_bank(method)} needs convolutions in one group, but {describe(site)}; "
                "share it by method kernel, anchored or slice_generator, or not"
            )


def check_kernel_size(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError unless all sites have the kernel size of the first one."""
    first = sites[0]
    for site in sites:
        if site.kernel_size != first.kernel_size:
            raise PlanError(
                f"{_bank(method)} needs sites of one kernel size: "
                f"{describe(first)}, but {describe(site)}; put them in different banks"
            )


def _bank(method: str) -> str:
    return f"{'an' if method[0] in 'aeiou' else 'a'} {method} bank"
