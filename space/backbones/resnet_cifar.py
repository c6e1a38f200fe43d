"""CIFAR ResNet-(6n+2): He, Zhang, Ren, Sun 2015, arXiv 1512.03385, section 4.2.

A 3x3 stem, three stages of n basic blocks with width, 2 width, 4 width channels, global average
pooling and a linear head. Shortcuts have no parameters: where the shape changes they take every
second row and column and append channels of zeros (option A of the paper), or put half of the zeros
in front, as Kang and Kim 2021 do (arXiv 2006.05066): as many parameters, another function.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.errors import BackboneError, one_of

SHORTCUTS = ("append", "pad")


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, added to the shortcut, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = out_channels - in_channels
        self.new_in_front = self.new_channels // 2 if shortcut == "pad" else 0
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels, 1)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        x = x[:, :, :: self.stride, :: self.stride]
        behind = self.new_channels - self.new_in_front
        return functional.pad(x, (0, 0, 0, 0, self.new_in_front, behind))


class ResNetCifar(nn.Module):
    """See the module's docstring; build it with ``resnet_cifar``."""

    def __init__(
        self, blocks: int, width: int, classes: int, in_channels: int, shortcut: str
    ) -> None:
        super().__init__()
        self.stem = _conv3x3(in_channels, width, 1)
        self.bn = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            _stage(width, width, blocks, 1, shortcut),
            _stage(width, 2 * width, blocks, 2, shortcut),
            _stage(2 * width, 4 * width, blocks, 2, shortcut),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        x = functional.relu(self.bn(self.stem(x)))
        x = self.stages(x)
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


def resnet_cifar(
    depth: int = 20,
    width: int = 16,
    classes: int = 10,
    in_channels: int = 3,
    shortcut: str = "append",
) -> ResNetCifar:
    """ResNet of ``depth`` = 6n + 2 layers for small images; ResNet-20 has 269,722 parameters.

    width: channels of the first stage; shortcut: where the new channels of zeros go, "append" at
    the end or "pad" on both sides. Raises BackboneError for another depth, width or shortcut.
    """
    if depth < 8 or (depth - 2) % 6:
        raise BackboneError(f"depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
    if width < 1:
        raise BackboneError(f"width must be at least 1 channel, got {width}")
    if shortcut not in SHORTCUTS:
        raise BackboneError(one_of("shortcut", shortcut, SHORTCUTS))
    return ResNetCifar((depth - 2) // 6, width, classes, in_channels, shortcut)


def _stage(
    in_channels: int, out_channels: int, blocks: int, stride: int, shortcut: str
) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride, shortcut)
    rest = (BasicBlock(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _conv3x3(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
