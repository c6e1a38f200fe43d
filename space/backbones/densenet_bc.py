"""DenseNet-BC for small images: Huang, Liu, van der Maaten, Weinberger 2017, arXiv 1608.06993.

A 3x3 stem to 2 growth channels, then three stages of bottlenecks. Each bottleneck reads everything
its stage made so far and adds ``growth`` channels; a transition after the first two stages halves
the channels and the image. Every bottleneck has the same 3x3 convolution, 4 growth to growth
channels: these are isomorphic across all stages. The 1x1 convolutions of a stage differ, but some
have a counterpart in another stage.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.errors import BackboneError

STAGES = 3


class Bottleneck(nn.Module):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3, appended to its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width); returns growth channels more."""
        y = self.conv1(functional.relu(self.bn1(x)))
        y = self.conv2(functional.relu(self.bn2(y)))
        return torch.cat([x, y], dim=1)


class Transition(nn.Module):
    """BN-ReLU-conv1x1 to half the channels, then 2x2 average pooling."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        return functional.avg_pool2d(self.conv(functional.relu(self.bn(x))), 2)


class DenseNetBC(nn.Module):
    """See the module's docstring; build it with ``densenet_bc``."""

    def __init__(self, blocks: int, growth: int, classes: int, in_channels: int) -> None:
        super().__init__()
        channels = 2 * growth
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        for place in range(STAGES):
            stage = _stage(channels, growth, blocks)
            channels += blocks * growth
            if place < STAGES - 1:
                stage.append(Transition(channels))
                channels //= 2
            self.stages.append(stage)
        self.bn = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        x = functional.relu(self.bn(self.stages(self.stem(x))))
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


def densenet_bc(
    depth: int = 40, growth: int = 36, classes: int = 10, in_channels: int = 3
) -> DenseNetBC:
    """DenseNet-BC-40-36, 40 layers that add 36 channels each, has 1,542,682 parameters.

    depth: 6n + 4, n bottlenecks a stage; growth: channels that a bottleneck adds. Raises
    BackboneError for another depth or growth.
    """
    if depth < 10 or (depth - 4) % 6:
        raise BackboneError(f"depth must be 6n + 4 (10, 16, 22, ...), got {depth}")
    if growth < 1:
        raise BackboneError(f"growth must be at least 1 channel, got {growth}")
    return DenseNetBC((depth - 4) // 6, growth, classes, in_channels)


def _stage(in_channels: int, growth: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        *(Bottleneck(in_channels + place * growth, growth) for place in range(blocks))
    )
