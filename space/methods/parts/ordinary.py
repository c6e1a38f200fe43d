"""Ordinary layers in the place of a site: what ``SharingMethod.deploy`` is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

KINDS: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
"""By the dimensions of a kernel."""


class Concatenated(nn.ModuleList):
    """Several layers of one input, their channels one after the other.

    dim: the dimension of the channels, the last one of linear layers.
    """

    def __init__(self, parts: Iterable[nn.Module], dim: int = 1) -> None:
        super().__init__(parts)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, ...), or (..., features)."""
        return torch.cat([part(x) for part in self], self.dim)


def layer_by(host: Any, kernel: Any, bias: Tensor | None, groups: int = 1) -> nn.Module:
    """What the convolution or linear layer ``host`` does, by this kernel (out, in/groups, ...)."""
    made: nn.Module
    if kernel.dim() == 2:
        made = nn.Linear(kernel.shape[1], len(kernel), bias is not None, device="meta")
    else:
        shape = (kernel.shape[2:], host.stride, host.padding, host.dilation, groups)
        channels = (kernel.shape[1] * groups, len(kernel))
        mode = host.padding_mode
        made = KINDS[kernel.dim()](*channels, *shape, bias is not None, mode, device="meta")
    made.weight = kernel
    if bias is not None:
        made.bias = bias
    return made


def norm_by(factor: Tensor, shift: Tensor, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """The normalisation that multiplies and adds just this, in evaluation."""
    norm: Any = kind(len(factor), eps=0.0).to(factor).eval()
    with torch.no_grad():
        norm.weight.copy_(factor)
        norm.bias.copy_(shift)
    found: nn.Module = norm
    return found


def become_sequence(host: Any, *layers: nn.Module) -> None:
    """Make a module these layers, one after the other; its place and its hooks stay."""
    host._parameters.clear()
    host._buffers.clear()
    host._modules.clear()
    host.__class__ = nn.Sequential
    for place, layer in enumerate(layers):
        host.add_module(str(place), layer)
