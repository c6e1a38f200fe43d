"""DACNN, the networks of anchored convolution: Huang, Dwivedi, Roig 2019, arXiv 1904.09764.

Unshared: every convolution has a kernel of its own. A plain network has one width, so that all its
convolutions but the first are isomorphic: the paper gives them one kernel. A mix network doubles
its width after each stage: the paper gives each stage one kernel and leaves the convolutions that
change the width alone. Images shrink by 2x2 max pooling, never by stride. Pooling rounds up: the
32x32 images of the paper halve evenly and never notice, smaller ones stop at one pixel.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.errors import BackboneError

VGG_DEPTH, VGG_LAYERS, VGG_POOLED = 14, 13, (2, 4, 7, 10, 13)
VGG_FACTORS = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class VGGLayer(nn.Module):
    """conv-ReLU-BN, in this order."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _conv3x3(in_channels, out_channels, bias=True)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        normalised: Tensor = self.bn(functional.relu(self.conv(x)))
        return normalised


class DACNNVGG(nn.Module):
    """13 layers of these widths with the pooling of VGG-16; build it with ``dacnn_plain`` or
    ``dacnn_mix``.
    """

    def __init__(self, widths: Sequence[int], classes: int, in_channels: int) -> None:
        super().__init__()
        steps = pairwise((in_channels, *widths))
        self.layers = nn.Sequential(*(VGGLayer(before, width) for before, width in steps))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        for place, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if place in VGG_POOLED:
                x = _halve(x)
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, added to the shortcut, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels, bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class DACNN(nn.Module):
    """A stage for each width, pooled after each; build it with ``dacnn_plain`` or ``dacnn_mix``."""

    def __init__(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        bias: bool,
        classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.stem = _conv3x3(in_channels, widths[0], bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        steps = zip(pairwise((widths[0], *widths)), blocks, strict=True)
        self.stages = nn.Sequential(
            *(_stage(before, width, count, bias) for (before, width), count in steps)
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        x = functional.relu(self.bn(self.stem(x)))
        for stage in self.stages:
            x = _halve(stage(x))
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


def dacnn_plain(
    depth: int = 18, width: int = 128, classes: int = 10, in_channels: int = 3
) -> DACNN | DACNNVGG:
    """DACNN of one width: 18 layers have 168,164 parameters with one kernel and 100 classes.

    depth: 14 in the layout of VGG-16, all convolutions with a bias; 18 or 34 in that of ResNet,
    none with a bias. width: channels. Raises BackboneError for another depth or width.
    """
    _check(depth, {VGG_DEPTH, *BLOCKS}, width)
    if depth == VGG_DEPTH:
        return DACNNVGG([width] * VGG_LAYERS, classes, in_channels)
    return DACNN([width] * 4, BLOCKS[depth], False, classes, in_channels)


def dacnn_mix(
    depth: int = 18, width: int = 64, classes: int = 10, in_channels: int = 3
) -> DACNN | DACNNVGG:
    """DACNN of four widths: 18 layers, a kernel a stage, 100 classes have 4,918,244 parameters.

    The 3x3 convolutions of the stages have a bias. depth: 14 in the layout and with the widths of
    VGG-16, 18 or 34 in that of ResNet; width: channels of the first
    stage. Raises BackboneError for another depth or width.
    """
    _check(depth, {VGG_DEPTH, *BLOCKS}, width)
    widths = (width, 2 * width, 4 * width, 8 * width)
    if depth == VGG_DEPTH:
        return DACNNVGG([width * factor for factor in VGG_FACTORS], classes, in_channels)
    return DACNN(widths, BLOCKS[depth], True, classes, in_channels)


def _check(depth: int, depths: Collection[int], width: int) -> None:
    if depth not in depths:
        allowed = ", ".join(map(str, sorted(depths)))
        raise BackboneError(f"depth must be one of {allowed}, got {depth}")
    if width < 1:
        raise BackboneError(f"width must be at least 1 channel, got {width}")


def _stage(in_channels: int, out_channels: int, blocks: int, bias: bool) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, bias)
    rest = (BasicBlock(out_channels, out_channels, bias) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _conv3x3(in_channels: int, out_channels: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)


def _halve(x: Tensor) -> Tensor:
    """(batch, channels, height, width) to half the height and width, rounded up."""
    return functional.max_pool2d(x, 2, ceil_mode=True)
