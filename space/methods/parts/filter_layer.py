"""A layer of a filter basis: what a site of the method filter_basis is (filter_basis.py)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoshare.space.layers import dimensions, groups_of, run
from isoshare.space.methods import FLOAT_BYTES
from isoshare.space.methods.parts.computed_weight import ComputedWeight


class FilterBasis(ComputedWeight):
    """A layer by unique and shared filters, normalisation and coefficients.

    basis: (shared rank, in/groups, k, k), one tensor for the bank; unique: (unique rank, ...) or
    None; coefficients: 1x1, unique + shared rank → out. A bias is added last. Grouped convolutions
    have filters and coefficients in as many groups.
    """

    basis: nn.Parameter
    unique: nn.Parameter | None
    norm: _BatchNorm
    coefficients: Any

    def forward(self, input: Tensor) -> Tensor:
        """input: as the layer takes it."""
        self.check_unwritten()
        if self.is_rounded_twice() and not self.norm.training:
            return run(self, input, *self.dense())
        y = self.norm(run(self, input, self.filters, None))
        z: Tensor = self.coefficients(y)
        if self.own_bias is None:
            return z
        return z + self.own_bias.view(-1, *[1] * dimensions(self))

    @property
    def filters(self) -> Tensor:
        """(unique + shared rank, in/groups, k, k): in each group the unique filters come first."""
        if self.unique is None:
            return self.basis
        return _beside(self.unique, self.basis, groups_of(self))

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Coefficients times filters, with the running statistics of the normalisation between."""
        groups, filters = groups_of(self), at_least_float32(self.filters)
        scale, shift = (one.view(groups, 1, -1) for one in affine(self.norm))
        shape = (groups, len(self.coefficients.weight) // groups, -1)
        coefficients = at_least_float32(self.coefficients.weight).reshape(shape)
        rows = (coefficients * scale) @ filters.reshape(groups, filters.shape[0] // groups, -1)
        weight = rows.reshape(-1, *filters.shape[1:])
        bias = (coefficients * shift).sum(2).flatten().to(self.basis.dtype)
        own = self.own_bias
        return weight.to(self.basis.dtype), bias if own is None else bias + own


def affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift of a normalisation in evaluation."""
    assert norm.running_mean is not None, "statistics are tracked"
    assert norm.running_var is not None, "statistics are tracked"
    mean, variance = at_least_float32(norm.running_mean), at_least_float32(norm.running_var)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - scale * mean


def at_least_float32(tensor: Tensor) -> Tensor:
    """So that products of half precision are rounded once."""
    return tensor.float() if tensor.element_size() < FLOAT_BYTES else tensor


def _beside(unique: Tensor, basis: Tensor, groups: int) -> Tensor:
    """Both in one tensor, group by group."""
    if groups == 1:
        return torch.cat([unique, basis])
    parts = [one.reshape(groups, len(one) // groups, *one.shape[1:]) for one in (unique, basis)]
    return torch.cat(parts, 1).flatten(0, 1)
