"""ResNeXt-50 whose next convolutions read its filters: Kang and Kim 2021 (arXiv 2006.05066).

For CIFAR. In all blocks of a stage but the first, a few filters of the block's own stand beside
those that the blocks of the stage share, both in groups, in place of the 3x3 convolution; the 1x1
convolution behind reads them all, so it is the coefficients. As in the authors' code, the shared
filters are in as many groups in all stages, and four filters of a block make a group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from isoshare.space.backbones.cifar_networks import cifar_resnext50
from isoshare.space.errors import BackboneError

if TYPE_CHECKING:
    from torchvision.models import ResNet

IN_GROUP = 4


class Filters(nn.Module):
    """Two convolutions of one input, the channels of ``unique`` first; ``shared`` may be shared."""

    def __init__(self, channels: int, unique: int, shared: int, groups: int) -> None:
        super().__init__()
        self.unique = _filters(channels, unique, unique // IN_GROUP)
        self.shared = _filters(channels, shared, groups)
        nn.init.orthogonal_(self.shared.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width); returns (batch, unique + shared, height, width)."""
        return torch.cat([self.unique(x), self.shared(x)], 1)


def resnext50_filters(
    shared_rank: int = 64, unique_rank: int = 4, classes: int = 10, in_channels: int = 3
) -> ResNet:
    """The network, each block with filters of its own: 100 classes have 19,964,676 parameters.

    shared_rank, unique_rank: filters of a block in the first stage, twice as many in each further
    one. Raises BackboneError unless they are multiples of 4 that fit the groups.
    """
    for name, rank, most in (("shared_rank", shared_rank, 128), ("unique_rank", unique_rank, 64)):
        if rank < IN_GROUP or rank & (rank - 1) or rank > most:
            raise BackboneError(
                f"{name} must be a power of two from {IN_GROUP} to {most}, got {rank}"
            )
    network = cifar_resnext50(classes, in_channels)
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    for place, stage in enumerate(stages):
        for block in list(stage)[1:]:
            unique, shared = unique_rank << place, shared_rank << place
            channels, out_channels = block.conv2.in_channels, block.conv3.out_channels
            block.conv2 = Filters(channels, unique, shared, shared_rank // IN_GROUP)
            block.bn2 = nn.BatchNorm2d(unique + shared)
            block.conv3 = _kaiming(nn.Conv2d(unique + shared, out_channels, 1, bias=False))
    return network


def _filters(channels: int, rank: int, groups: int) -> nn.Conv2d:
    return _kaiming(nn.Conv2d(channels, rank, 3, padding=1, groups=groups, bias=False))


def _kaiming(conv: nn.Conv2d) -> nn.Conv2d:
    """As torchvision draws all others."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
