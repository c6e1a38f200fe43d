"""Shared filter bases: Kang, Kim 2021 (NeurIPS), arXiv 2006.05066.

The sites of a bank share a basis of filters. A site runs one convolution (or linear layer) with its
unique filters and the shared ones, then a private batch normalisation over these channels, then
private coefficients, a 1x1 convolution to its out-channels (section 3.2). The kernel is never made:
two convolutions run, so multiply-accumulates change.

A bank of all sites of a stage is the paper's single basis; two banks, one of the first and one of
the second convolutions of the blocks, are its double basis. Bases of one shape are kept orthonormal
together (space/methods/orthogonality.py), and start so. Kaiming initialisation by fan-out; unique
filters are scaled to norm one, which the batch normalisation behind them does not notice, since few
filters of large norm make the orthogonality loss diverge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoshare.space.errors import PlanError
from isoshare.space.layers import NORMS, dimensions, groups_of, pointwise
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts, orthogonality
from isoshare.space.methods.checks import (
    check_isomorphic,
    check_not_transposed,
    check_plain,
    check_real,
)
from isoshare.space.methods.device import Held, Uses, one_kernel, own_kernel
from isoshare.space.methods.parts.computed_weight import become_computed
from isoshare.space.methods.parts.decomposition import coordinates, principal
from isoshare.space.methods.parts.filter_layer import FilterBasis, affine
from isoshare.space.methods.parts.ordinary import Concatenated, become_sequence, layer_by, norm_by
from isoshare.space.sites import Site, describe, describe_signature

COUNTER_BYTES = 8
"""A batch normalisation counts its batches in one int64."""

LEAST_RANK = 4
"""The fewest shared filters that are worth trying."""


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """A filter basis needs isomorphic, plain layers, and ranks that their groups divide."""
    check_isomorphic("filter_basis", sites)
    check_plain("filter_basis", sites)
    check_not_transposed("filter_basis", sites)
    check_real("filter_basis", sites)
    groups = sites[0].groups
    for name in ("shared_rank", "unique_rank"):
        if options[name] % groups:
            nearest = -(-options[name] // groups) * groups
            raise PlanError(
                f"the {name} of a filter_basis bank must be a multiple of the groups, got "
                f"{options[name]}, but {describe(sites[0])}; take {nearest}"
            )


def option_values(sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
    """Ranks in proportion to the out-channels, as the paper scales them from stage to stage; none
    for depthwise convolutions, whose channels have one filter each.

    More filters than a kernel has elements for one out-channel would span nothing new. Fewer than
    ``LEAST_RANK`` are left out: the loss divides by the square of the rank, and with its weight of
    10 plain gradient descent at a rate of 0.1 diverges.
    """
    width, groups = sites[0].out_channels, sites[0].groups
    if groups == sites[0].in_channels > 1:
        return {"shared_rank": ()}
    most = groups * counts.filter_size(sites[0])
    shared = {groups * round(width * part / groups) for part in (0.25, 0.5, 0.75, 1, 1.5, 2)}
    unique = {0, *(groups * (width // part // groups) for part in (64, 16, 8))}
    return {
        "shared_rank": tuple(sorted(rank for rank in shared if LEAST_RANK <= rank <= most)),
        "unique_rank": tuple(sorted(unique)),
    }


def macs(sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
    """Those of the filters and of the coefficients; normalisation is not counted, as ever."""
    rank = options["shared_rank"] + options["unique_rank"]
    return [rank * (counts.filter_size(site) + site.out_channels // site.groups) for site in sites]


def stored_bytes(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """The trained parameters and, for each site, the statistics of its batch normalisation."""
    rank: int = options["shared_rank"] + options["unique_rank"]
    statistics = 2 * rank * FLOAT_BYTES + COUNTER_BYTES
    return FLOAT_BYTES * counts.filter_basis(sites, options) + len(sites) * statistics


def activation_elements(
    sites: Sequence[Site], options: Mapping[str, Any]
) -> list[ActivationElements]:
    """What the filters give; that and the normalised; the normalised and the output, twice where a
    bias is added.
    """
    rank = options["shared_rank"] + options["unique_rank"]
    outputs = [site.out_channels * (1 + site.has_bias) for site in sites]
    return [ActivationElements(rank, max(2 * rank, rank + output)) for output in outputs]


def held(sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
    """The shared filters with all their uses; for each site unique filters and coefficients."""
    first, shared, unique = sites[0], options["shared_rank"], options["unique_rank"]
    inner = [Uses(one.calls, 1) for one in uses]
    parts = [one_kernel(shared * counts.filter_size(first), shared, False, inner)]
    for site, one, normalised in zip(sites, uses, inner, strict=True):
        if unique:
            parts.append(own_kernel(unique * counts.filter_size(site), unique, False, normalised))
        mixing = site.out_channels // site.groups * (shared + unique)
        parts.append(own_kernel(mixing, site.out_channels, site.has_bias, one))
    return Held().plus(*parts)


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Replace the kernels by one shared basis and what each site has of its own."""
    first: Any = network.get_submodule(sites[0].name)
    asked = orthogonality.Orthogonality(
        method="filter_basis",
        bank=sites[0].name,
        together=f"{describe_signature(sites[0].signature)}, {options['orthogonality']}",
        weight=options["orthogonality"],
        shared="basis",
        unique="unique" if options["orthogonal_unique"] and options["unique_rank"] else None,
    )
    shape = (options["shared_rank"], *first.weight.shape[1:])
    others = orthogonality.bases_beside(network, asked) if asked.weight else []
    fresh = orthogonality.orthonormal(shape, others, first.weight.device)
    basis = nn.Parameter(fresh.to(first.weight))
    for site in sites:
        conv: Any = network.get_submodule(site.name)
        _become(conv, site, basis, options["unique_rank"])
        if asked.weight:
            conv.orthogonality = asked


def project(
    network: nn.Module,
    sites: Sequence[Site],
    options: Mapping[str, Any],
    kernels: Sequence[Tensor],
    importance: Sequence[Tensor],
) -> list[Tensor]:
    """Truncated singular value decompositions: of all kernels for the shared filters, of what is
    left of each kernel for its unique ones. The filters are orthonormal, the coefficients follow.

    The normalisation between them is expected to be made the identity on the data.
    """
    groups = sites[0].groups
    rows = [_by_group(one.double(), groups) / one.norm().clamp_min(1e-12) for one in kernels]
    basis = principal(torch.cat(rows, 1), options["shared_rank"] // groups)
    made = []
    for site, own, trained in zip(sites, rows, kernels, strict=True):
        conv: Any = network.get_submodule(site.name)
        unique = principal(own - own @ basis.mT @ basis, options["unique_rank"] // groups)
        filters = torch.cat([unique, basis], 1)
        scaled = coordinates(own, filters) * trained.norm()
        with torch.no_grad():
            conv.basis.copy_(basis.reshape(conv.basis.shape))
            if conv.unique is not None:
                conv.unique.copy_(unique.reshape(conv.unique.shape))
            conv.coefficients.weight.copy_(scaled.reshape(conv.coefficients.weight.shape))
        made.append((scaled @ filters).to(trained.dtype).view_as(trained))
    return made


def to_dense(conv: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Coefficients times filters, with the running statistics of the normalisation between them."""
    assert isinstance(conv, FilterBasis), "made by share"
    return conv.dense()


def deploy(host: nn.Module) -> None:
    """A layer and a normalisation for the shared filters, others for the unique ones, then the
    coefficients. In several groups unique filters stand between shared ones, in one kernel.
    """
    assert isinstance(host, FilterBasis), "made by share"
    groups, mixing = groups_of(host), host.coefficients
    kernels = [host.basis] if host.unique is None else [host.unique, host.basis]
    if groups > 1 and len(kernels) > 1:
        kernels = [nn.Parameter(host.filters)]
    scale, shift = (one.to(host.basis) for one in affine(host.norm))
    signs = 1 - 2 * (scale < 0).to(scale)  # in the coefficients, so that scales are positive
    sizes = [len(kernel) for kernel in kernels]
    factors, shifts = (torch.split(one * signs, sizes) for one in (scale, shift))
    norm = NORMS[dimensions(host)]
    parts = [
        nn.Sequential(layer_by(host, kernel, None, groups), norm_by(factor, move, norm))
        for kernel, factor, move in zip(kernels, factors, shifts, strict=True)
    ]
    by_group = mixing.weight.view(groups, len(mixing.weight) // groups, -1)
    flipped = by_group * signs.view(groups, 1, -1)
    mixing.weight = nn.Parameter(flipped.view_as(mixing.weight))
    mixing.bias = host.own_bias
    side_by_side = Concatenated(parts, dim=-1 if dimensions(host) == 0 else 1)
    become_sequence(host, side_by_side if len(parts) > 1 else parts[0], mixing)


def norms_to_calibrate(network: nn.Module) -> list[_BatchNorm]:
    """That between filters and coefficients."""
    return [part.norm for part in network.modules() if isinstance(part, FilterBasis)]


def extra_loss(network: nn.Module, sites: Collection[str] | None = None) -> Tensor | None:
    """The orthogonality of the filters."""
    return orthogonality.loss(network, "filter_basis", sites)


def _become(conv: Any, site: Site, basis: nn.Parameter, unique_rank: int) -> None:
    """Turn a layer into a ``FilterBasis``; its place and its hooks stay."""
    rank = len(basis) + unique_rank
    become_computed(conv, FilterBasis, site.name)
    conv.basis = basis
    conv.unique = None
    if unique_rank:
        conv.unique = nn.Parameter(basis.new_empty(unique_rank, *basis.shape[1:]))
        _kaiming(conv.unique)
        with torch.no_grad():
            norms = conv.unique.flatten(1).norm(dim=1)
            conv.unique /= norms.view(-1, *[1] * (basis.dim() - 1))
    conv.norm = NORMS[dimensions(conv)](rank)
    conv.coefficients = pointwise(conv, rank, site.out_channels)
    _kaiming(conv.coefficients.weight)
    for part in (conv.norm, conv.coefficients):
        part.to(basis).train(conv.training)


def _by_group(kernel: Tensor, groups: int) -> Tensor:
    """(groups, out/groups, elements of a filter)."""
    return kernel.reshape(groups, len(kernel) // groups, -1)


def _kaiming(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
