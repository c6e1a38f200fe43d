"""ConvMixer: Trockman and Kolter 2022, arXiv 2201.09792.

A patch embedding, then ``depth`` times a depthwise convolution with a residual around it and a
pointwise convolution, each followed by GELU and batch normalisation in this order. All depthwise
convolutions are isomorphic, and so are all pointwise ones: with one bank each, Azadbakht et al.
2022 (arXiv 2210.14151) share every layer but the stem and the head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.errors import BackboneError


class MixerBlock(nn.Module):
    """Mixes places within a channel (depthwise, residual), then channels (pointwise)."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel_size, padding="same", groups=width)
        self.bn1 = nn.BatchNorm2d(width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, width, height, width of the image)."""
        x = x + self.bn1(functional.gelu(self.depthwise(x)))
        mixed: Tensor = self.bn2(functional.gelu(self.pointwise(x)))
        return mixed


class ConvMixer(nn.Module):
    """See the module's docstring; build it with ``convmixer``."""

    def __init__(
        self, width: int, depth: int, kernel: int, patch: int, classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(MixerBlock(width, kernel) for _ in range(depth)))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        x = self.blocks(self.bn(functional.gelu(self.stem(x))))
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


def convmixer(
    width: int = 256,
    depth: int = 16,
    kernel: int = 9,
    patch: int = 1,
    classes: int = 10,
    in_channels: int = 3,
) -> ConvMixer:
    """ConvMixer-256/16 with 9x9 kernels and patches of one pixel has 1,409,034 parameters.

    width: channels; depth: blocks. Raises BackboneError for a number below 1.
    """
    for name, value in (("width", width), ("depth", depth), ("kernel", kernel), ("patch", patch)):
        if value < 1:
            raise BackboneError(f"{name} must be at least 1, got {value}")
    return ConvMixer(width, depth, kernel, patch, classes, in_channels)
