"""MobileNetV2 as Kang and Kim 2021 trained it (NeurIPS, arXiv 2006.05066).

torchvision's network (Sandler et al. 2018, arXiv 1801.04381) with three small differences, which
explain why their counts are 2,400 above those on torchvision's: the first block expands too, by a
1x1 convolution of factor one with batch normalisation, and the first and the last convolution have
a bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from isoshare.space.backbones import torchvision_operators

if TYPE_CHECKING:
    from torchvision.models import MobileNetV2


def mobilenet_v2_expanded(classes: int = 1000, in_channels: int = 3) -> MobileNetV2:
    """The network; its blocks are ``features.1`` to ``features.17``."""
    torchvision_operators.declare_missing()
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(num_classes=classes)
    features = network.features
    features[0][0] = nn.Conv2d(in_channels, 32, 3, stride=2, padding=1)
    features[1].conv = nn.Sequential(
        nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()),
        *features[1].conv,
    )
    features[18][0] = nn.Conv2d(320, 1280, 1)
    return network
