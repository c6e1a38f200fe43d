"""ResNet-18 and -34 for small images, as Kang and Kim 2021 share their filters (arXiv 2006.05066).

The basic-block networks of He, Zhang, Ren, Sun 2015 (arXiv 1512.03385), section 4.1, with a stem
that keeps the size of the image: 3x3 and no max pooling. Four stages of width, 2, 4 and 8 width
channels, the last three halving the image by stride; where the shape changes, the shortcut is a
1x1 convolution with batch normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.errors import BackboneError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, added to the shortcut, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNetSmallImages(nn.Module):
    """See the module's docstring; build it with ``resnet_small_images``."""

    def __init__(self, depth: int, width: int, classes: int, in_channels: int) -> None:
        super().__init__()
        one, two, three, four = BLOCKS[depth]
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            _stage(width, width, one, stride=1),
            _stage(width, 2 * width, two, stride=2),
            _stage(2 * width, 4 * width, three, stride=2),
            _stage(4 * width, 8 * width, four, stride=2),
        )
        self.head = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        x = self.stages(functional.relu(self.bn(self.stem(x))))
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


def resnet_small_images(
    depth: int = 18, width: int = 64, classes: int = 10, in_channels: int = 3
) -> ResNetSmallImages:
    """ResNet of 18 or 34 layers; 34 layers with 100 classes have 21,328,292 parameters.

    width: channels of the first stage. Raises BackboneError for another depth or width.
    """
    if depth not in BLOCKS:
        allowed = ", ".join(map(str, BLOCKS))
        raise BackboneError(f"depth must be one of {allowed}, got {depth}")
    if width < 1:
        raise BackboneError(f"width must be at least 1 channel, got {width}")
    return ResNetSmallImages(depth, width, classes, in_channels)


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    rest = (BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
