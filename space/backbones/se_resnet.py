"""SE-ResNet for small images, as Azadbakht et al. 2022 share its kernels (arXiv 2210.14151).

Squeeze-and-excitation (Hu, Shen, Sun 2018, arXiv 1709.01507) in post-activation basic blocks: a
stem to 16 channels, then stages of 64, 128 and 256 channels. A stage of n blocks has 2n - 1
isomorphic convolutions: all but the first, which changes the number of channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.errors import BackboneError

STEM, STAGES, REDUCTION = 16, (64, 128, 256), 16


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that sees all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION, bias=False)
        self.excite = nn.Linear(channels // REDUCTION, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        gate = self.excite(functional.relu(self.squeeze(torch.mean(x, dim=(2, 3)))))
        return x * torch.sigmoid(gate)[:, :, None, None]


class SEBlock(nn.Module):
    """conv-BN-ReLU-conv-BN-SE, added to the shortcut, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.se = SqueezeExcitation(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.se(self.bn2(self.conv2(y)))
        return functional.relu(y + self.shortcut(x))


class SEResNet(nn.Module):
    """See the module's docstring; build it with ``se_resnet``."""

    def __init__(self, blocks: int, classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, STEM, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(STEM)
        widths = (STEM, *STAGES)
        self.stages = nn.Sequential(
            *(
                _stage(widths[place], widths[place + 1], blocks, stride=2 if place else 1)
                for place in range(len(STAGES))
            )
        )
        self.head = nn.Linear(STAGES[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width); returns logits (batch, classes)."""
        x = self.stages(functional.relu(self.bn(self.stem(x))))
        logits: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return logits


def se_resnet(blocks: int = 2, classes: int = 10, in_channels: int = 3) -> SEResNet:
    """SE-ResNet with ``blocks`` a stage; two have 2,771,290 parameters. Raises BackboneError."""
    if blocks < 1:
        raise BackboneError(f"blocks must be at least 1, got {blocks}")
    return SEResNet(blocks, classes, in_channels)


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = SEBlock(in_channels, out_channels, stride)
    return nn.Sequential(
        first, *(SEBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
    )
