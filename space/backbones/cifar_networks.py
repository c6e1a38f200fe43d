"""Networks for large images, fitted to small ones as Kang and Kim 2021 (arXiv 2006.05066) and
others train them on CIFAR: torchvision's, with a 3x3 stem of stride 1 and no pooling behind it.

How the papers wrote theirs is not published in every detail: the counts are those of the networks
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from isoshare.space.backbones import torchvision_operators

if TYPE_CHECKING:
    from torchvision.models import DenseNet, MobileNetV2, ResNet, ShuffleNetV2

KEPT = (1, 2, 3)
"""The blocks of MobileNetV2 whose stride becomes 1: an image of 32x32 is halved three times."""


def cifar_densenet121(classes: int = 10, in_channels: int = 3) -> DenseNet:
    """DenseNet-121 whose stem is a convolution alone; 100 classes have 7,048,548 parameters."""
    torchvision_operators.declare_missing()
    from torchvision.models import densenet121

    network = densenet121(num_classes=classes)
    network.features.conv0 = _stem(in_channels, 64)
    for name in ("norm0", "relu0", "pool0"):
        setattr(network.features, name, nn.Identity())
    return network


def cifar_mobilenet_v2(classes: int = 10, in_channels: int = 3) -> MobileNetV2:
    """MobileNetV2 that halves an image three times, by the strides of its later stages."""
    torchvision_operators.declare_missing()
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(num_classes=classes)
    network.features[0][0] = _stem(in_channels, 32)
    for place in KEPT:
        for part in network.features[place].modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)
    return network


def cifar_resnext50(classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNeXt-50 32x4d; 100 classes have 23,177,124 parameters."""
    torchvision_operators.declare_missing()
    from torchvision.models import resnext50_32x4d

    return _without_pooling(resnext50_32x4d(num_classes=classes), in_channels)


def cifar_resnet26(classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-26 of two bottlenecks a stage."""
    torchvision_operators.declare_missing()
    from torchvision.models.resnet import Bottleneck, ResNet

    network = ResNet(Bottleneck, [2, 2, 2, 2], num_classes=classes)
    return _without_pooling(network, in_channels)


def cifar_shufflenet_v2(classes: int = 10, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNetV2 of half the width."""
    torchvision_operators.declare_missing()
    from torchvision.models import shufflenet_v2_x0_5

    network = shufflenet_v2_x0_5(num_classes=classes)
    network.conv1[0] = _stem(in_channels, 24)
    network.maxpool = nn.Identity()
    return network


def _without_pooling(network: ResNet, in_channels: int) -> ResNet:
    network.conv1 = _stem(in_channels, 64)
    network.maxpool = nn.Identity()
    return network


def _stem(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
