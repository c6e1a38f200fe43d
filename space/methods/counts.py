"""How many trainable parameters a bank has, in closed form and without torch: plans are counted
where no network can be built. Each function takes the sites of a bank and the complete options of
its method, and counts the bank and what its sites keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Any

from isoshare.space.sites import Site


def kernel(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """One kernel ``out x in/groups x k x k``, and one bias ``out`` if any site trains one."""
    bias = sites[0].out_channels if any(site.bias for site in sites) else 0
    return sites[0].kernel_parameters + bias


def dropped_biases(sites: Sequence[Site]) -> int:
    """Elements of frozen biases that a bank of one kernel and one bias has no more."""
    frozen = sum(site.frozen_bias for site in sites)
    kept = bool(frozen) and not any(site.bias for site in sites)
    return sites[0].out_channels * (frozen - kept)


def anchored(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """One kernel and bias, and ``out x out/groups`` for each regulator."""
    return kernel(sites, {}) + sum(regulated(len(sites), options["every"])) * regulator(sites[0])


def filter_basis(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """s filters shared; for each site u filters, 2(s + u), out x (s + u)/groups, and its bias."""
    shared: int = options["shared_rank"]
    unique: int = options["unique_rank"]
    return shared * filter_size(sites[0]) + sum(
        unique * filter_size(site)
        + (shared + unique) * (2 + site.out_channels // site.groups)
        + (site.out_channels if site.bias else 0)
        for site in sites
    )


def slice_generator(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """c N if the generator is trained, c n and the bias for each site."""
    size: int = options["slice_size"]
    code: int = options["code_size"]
    fixed = code * size * size * prod(sites[0].kernel_size)
    return (fixed if options["generator"] == "trained" else 0) + sum(
        code * slices(site, size) + (site.out_channels if site.bias else 0) for site in sites
    )


def low_rank(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """One kernel; for each site ``rank`` columns and rows of its residual, and its bias."""
    each = residual(sites[0], options["rank"])
    biases = sum(site.out_channels for site in sites if site.bias)
    return sites[0].kernel_parameters + len(sites) * each + biases


def residual(site: Site, rank: int) -> int:
    """Elements of A and B: in each group out/groups x rank and rank x in/groups x k x k."""
    return rank * (site.out_channels + site.groups * filter_size(site))


def regulated(sites: int, every: int) -> list[bool]:
    """Which sites of an anchored bank have a regulator: every n-th, counted back from the last."""
    return [(sites - 1 - place) % every == 0 for place in range(sites)]


def regulator(site: Site) -> int:
    """Elements of a 1x1 convolution in as many groups as the site."""
    return site.out_channels * site.out_channels // site.groups


def filter_size(site: Site) -> int:
    """Elements of one filter."""
    return site.kernel_parameters // site.out_channels


def slices(site: Site, size: int) -> int:
    """n, the number of slices that cover a site's kernel."""
    return ceil(site.in_channels // site.groups / size) * ceil(site.out_channels / size)
