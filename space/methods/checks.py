"""The sentences with which methods refuse sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isoshare.space.errors import PlanError
from isoshare.space.methods import METHODS
from isoshare.space.sites import Site, describe

LARGE = 10_000_000
"""Parameters up to which a bank may be many times as large as its sites."""


def check_size(method: str, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Raise PlanError for options that nobody means, before anything of their size is made."""
    made = METHODS[method].parameters(sites, options)
    had = sum(site.parameters for site in sites)
    if made > max(LARGE, 10 * had):
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise PlanError(
            f"{_bank(method)} with {given} has {made:,} parameters where its sites, "
            f"{sites[0].name!r} among them, have {had:,}: a bank is there to save some, make it "
            "smaller"
        )


def check_isomorphic(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError unless all sites have the shape of the first one."""
    _check_alike(method, sites, lambda site: site.signature, "isomorphic sites")


def check_plain(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError for a layer that is more than PyTorch's: who knows what it is for."""
    for site in sites:
        if site.subclass:
            layer = "nn.Linear" if site.kind == "linear" else f"nn.Conv{len(site.kernel_size)}d"
            raise PlanError(
                f"{_bank(method)} replaces how a layer computes, but {site.name!r} is a "
                f"subclass of {layer} or has parts of its own; share it by method kernel, or not"
            )


def check_not_transposed(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError for transposed convolutions: behind them stands what has been enlarged."""
    for site in sites:
        if site.kind == "transposed":
            raise PlanError(
                f"{_bank(method)} computes on behind a layer, where a transposed convolution has "
                f"enlarged the image, but {describe(site)}; share it by a method that makes "
                "kernels, or not"
            )


def check_real(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError for complex kernels: nothing normalises complex numbers."""
    for site in sites:
        if site.is_complex:
            raise PlanError(
                f"{_bank(method)} needs real kernels, that of {site.name!r} is complex; share it "
                "by method kernel, anchored or slice_generator"
            )


def check_kernel_size(method: str, sites: Sequence[Site]) -> None:
    """Raise PlanError unless all sites have the kernel size of the first one."""
    _check_alike(method, sites, lambda site: site.kernel_size, "sites of one kernel size")


def _check_alike(
    method: str, sites: Sequence[Site], of: Callable[[Site], object], needs: str
) -> None:
    first = sites[0]
    for site in sites:
        if of(site) != of(first):
            raise PlanError(
                f"{_bank(method)} needs {needs}: "
                f"{describe(first)}, but {describe(site)}; put them in different banks"
            )


def _bank(method: str) -> str:
    return f"{'an' if method[0] in 'aeiou' else 'a'} {method} bank"
