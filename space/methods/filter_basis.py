"""Shared filter bases: Kang, Kim 2021 (NeurIPS), arXiv 2006.05066.

The sites of a bank share a basis of filters. A site runs one convolution with its unique filters
and the shared ones, then a private batch normalisation over these channels, then private
coefficients, a 1x1 convolution to its out-channels (section 3.2). The kernel is never made: two
convolutions run, so multiply-accumulates change.

A bank of all sites of a stage is the paper's single basis; two banks, one of the first and one of
the second convolutions of the blocks, are its double basis. Bases of one shape are kept orthonormal
together (space/methods/orthogonality.py). Kaiming initialisation by fan-out, ``orthogonal_`` for
the shared basis; unique filters are scaled to norm one, which the batch normalisation behind them
does not notice, since few filters of large norm make the orthogonality loss diverge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.space.errors import PlanError
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts, orthogonality
from isoshare.space.methods.checks import check_isomorphic, check_plain, check_ungrouped
from isoshare.space.methods.computed_weight import ComputedWeightConv2d
from isoshare.space.methods.device import Held, Uses, one_kernel, own_kernel
from isoshare.space.methods.ordinary import Concatenated, become_sequence, layer_by, norm_by
from isoshare.space.sites import Site, describe_signature

COUNTER_BYTES = 8
"""A batch normalisation counts its batches in one int64."""


LEAST_RANK = 4
"""The fewest shared filters that are worth trying."""


class FilterBasisConv2d(ComputedWeightConv2d):
    """A convolution by unique and shared filters, normalisation and coefficients.

    basis: (shared rank, in, k, k), one tensor for the bank; unique: (unique rank, in, k, k) or
    None; coefficients: 1x1, unique + shared rank → out. A bias is added last.
    """

    basis: nn.Parameter
    unique: nn.Parameter | None
    norm: nn.BatchNorm2d
    coefficients: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        self.check_unwritten()
        y = self.norm(self._conv_forward(x, self.filters, None))
        z: Tensor = self.coefficients(y)
        return z if self.own_bias is None else z + self.own_bias[:, None, None]

    @property
    def filters(self) -> Tensor:
        """(unique + shared rank, in, k, k): the unique filters come first."""
        return self.basis if self.unique is None else torch.cat([self.unique, self.basis])

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Coefficients times filters, with the running statistics of the normalisation between."""
        coefficients = at_least_float32(self.coefficients.weight.flatten(1))
        scale, shift = _affine(self.norm)
        filters = at_least_float32(self.filters)
        weight = ((coefficients * scale) @ filters.flatten(1)).view(-1, *filters.shape[1:])
        bias, own = (coefficients @ shift).to(self.basis.dtype), self.own_bias
        return weight.to(self.basis.dtype), bias if own is None else bias + own


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """A filter basis needs isomorphic, ungrouped, plain convolutions."""
    check_isomorphic("filter_basis", sites)
    check_ungrouped("filter_basis", sites)
    check_plain("filter_basis", sites)


def option_values(sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
    """Ranks in proportion to the out-channels, as the paper scales them from stage to stage.

    More filters than a kernel has elements for one out-channel would span nothing new. Fewer than
    ``LEAST_RANK`` are left out: the loss divides by the square of the rank, and with its weight of
    10 plain gradient descent at a rate of 0.1 diverges.
    """
    width = sites[0].out_channels
    most = sites[0].kernel_parameters // width
    shared = {round(width * part) for part in (0.25, 0.5, 0.75, 1, 1.5, 2)}
    unique = {0, width // 64, width // 16, width // 8}
    return {
        "shared_rank": tuple(sorted(rank for rank in shared if LEAST_RANK <= rank <= most)),
        "unique_rank": tuple(sorted(unique)),
    }


def macs(sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
    """Those of the filters and of the coefficients; normalisation is not counted, as ever."""
    rank = options["shared_rank"] + options["unique_rank"]
    return [rank * (counts.filter_size(site) + site.out_channels) for site in sites]


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
    outputs = [site.out_channels * (1 + (site.bias or site.frozen_bias)) for site in sites]
    return [ActivationElements(rank, max(2 * rank, rank + output)) for output in outputs]


def held(sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
    """The shared filters with all their uses; for each site unique filters and coefficients."""
    first, shared, unique = sites[0], options["shared_rank"], options["unique_rank"]
    inner = [Uses(one.calls, 1) for one in uses]
    parts = [one_kernel(shared * counts.filter_size(first), shared, False, inner)]
    for site, one, normalised in zip(sites, uses, inner, strict=True):
        if unique:
            parts.append(own_kernel(unique * counts.filter_size(site), unique, False, normalised))
        mixing = site.out_channels * (shared + unique)
        parts.append(own_kernel(mixing, site.out_channels, site.bias, one))
    return Held().plus(*parts)


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Replace the kernels by one shared basis and what each site has of its own.

    Raises PlanError for complex kernels: nothing normalises complex numbers.
    """
    first: Any = network.get_submodule(sites[0].name)
    if first.weight.is_complex():
        raise PlanError(
            f"a filter_basis bank needs real kernels, that of {sites[0].name!r} is "
            f"{first.weight.dtype}; share it by method kernel, anchored or slice_generator"
        )
    fresh = torch.empty(options["shared_rank"], *first.weight.shape[1:], device=first.weight.device)
    nn.init.orthogonal_(fresh)  # in float32: half precision has no such decomposition
    basis = nn.Parameter(fresh.to(first.weight))
    asked = orthogonality.Orthogonality(
        method="filter_basis",
        bank=sites[0].name,
        together=f"{describe_signature(sites[0].signature)}, {options['orthogonality']}",
        weight=options["orthogonality"],
        shared="basis",
        unique="unique" if options["orthogonal_unique"] and options["unique_rank"] else None,
    )
    for site in sites:
        conv: Any = network.get_submodule(site.name)
        _become(conv, basis, options["unique_rank"])
        conv.site = site.name
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
    rows = [one.flatten(1).double() / one.norm().clamp_min(1e-12) for one in kernels]
    basis = _principal(torch.cat(rows), options["shared_rank"])
    made = []
    for site, own, trained in zip(sites, rows, kernels, strict=True):
        conv: Any = network.get_submodule(site.name)
        unique = _principal(own - own @ basis.mT @ basis, options["unique_rank"])
        filters = torch.cat([unique, basis])
        coefficients = own @ torch.linalg.pinv(filters)
        with torch.no_grad():
            conv.basis.copy_(basis.view_as(conv.basis))
            if conv.unique is not None:
                conv.unique.copy_(unique.view_as(conv.unique))
            scaled = coefficients * trained.norm()
            conv.coefficients.weight.copy_(scaled[:, :, None, None])
        made.append((scaled @ filters).to(trained.dtype).view_as(trained))
    return made


def to_dense(conv: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Coefficients times filters, with the running statistics of the normalisation between them."""
    assert isinstance(conv, FilterBasisConv2d), "made by share"
    return conv.dense()


def deploy(host: nn.Module) -> None:
    """A convolution and a normalisation for the shared filters, others for the unique ones, then
    the coefficients.
    """
    assert isinstance(host, FilterBasisConv2d), "made by share"
    conv: Any = host
    kernels = [conv.basis] if conv.unique is None else [conv.unique, conv.basis]
    sizes = [len(kernel) for kernel in kernels]
    scale, shift = _affine(conv.norm)
    signs = torch.where(scale < 0, -1.0, 1.0)  # in the coefficients, so that scales are positive
    factors, shifts = (torch.split(one * signs, sizes) for one in (scale, shift))
    pairs = zip(factors, shifts, strict=True)
    parts = [
        nn.Sequential(layer_by(conv, kernel, None), norm_by(*pair))
        for kernel, pair in zip(kernels, pairs, strict=True)
    ]
    mixing = conv.coefficients
    mixing.weight = nn.Parameter(mixing.weight * signs[:, None, None])
    mixing.bias = conv.own_bias
    become_sequence(conv, Concatenated(parts) if len(parts) > 1 else parts[0], mixing)


def norms_to_calibrate(network: nn.Module) -> list[nn.BatchNorm2d]:
    """That between filters and coefficients."""
    return [part.norm for part in network.modules() if isinstance(part, FilterBasisConv2d)]


def extra_loss(network: nn.Module) -> Tensor | None:
    """The orthogonality of the filters."""
    return orthogonality.loss(network, "filter_basis")


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a normalisation in evaluation."""
    assert norm.running_mean is not None, "statistics are tracked"
    assert norm.running_var is not None, "statistics are tracked"
    mean, variance = at_least_float32(norm.running_mean), at_least_float32(norm.running_var)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - scale * mean


def _become(conv: Any, basis: nn.Parameter, unique_rank: int) -> None:
    """Turn a convolution into a ``FilterBasisConv2d``; its place and its hooks stay."""
    rank = len(basis) + unique_rank
    del conv.weight
    conv.__class__ = FilterBasisConv2d
    conv.basis = basis
    conv.unique = None
    if unique_rank:
        conv.unique = nn.Parameter(basis.new_empty(unique_rank, *basis.shape[1:]))
        _kaiming(conv.unique)
        with torch.no_grad():
            conv.unique /= conv.unique.flatten(1).norm(dim=1)[:, None, None, None]
    conv.norm = nn.BatchNorm2d(rank)
    conv.coefficients = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
    _kaiming(conv.coefficients.weight)
    for part in (conv.norm, conv.coefficients):
        part.to(basis).train(conv.training)


def at_least_float32(tensor: Tensor) -> Tensor:
    """So that products of half precision are rounded once."""
    return tensor.float() if tensor.element_size() < FLOAT_BYTES else tensor


def _principal(rows: Tensor, rank: int) -> Tensor:
    """(rank, columns): the first right singular vectors; zeros where there are no more."""
    vectors = torch.linalg.svd(rows, full_matrices=False).Vh[:rank]
    return torch.cat([vectors, vectors.new_zeros(rank - len(vectors), rows.shape[1])])


def _kaiming(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
