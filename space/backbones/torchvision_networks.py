"""torchvision's own networks under the arguments of all backbones: classes and in_channels.

Any other network of torchvision is named ``torchvision.models:NAME``, with torchvision's arguments.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from isoshare.space.backbones import torchvision_operators


def network(name: str, classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """The network ``name`` with random weights; its first convolution takes ``in_channels``."""
    torchvision_operators.declare_missing()
    from torchvision import models

    built: nn.Module = models.get_model(name, weights=None, num_classes=classes)
    if in_channels != 3:
        path, first = next(
            (path, part) for path, part in built.named_modules() if isinstance(part, nn.Conv2d)
        )
        built.set_submodule(path, _with_channels(first, in_channels))
    return built


def _with_channels(conv: Any, in_channels: int) -> nn.Conv2d:
    """A convolution like ``conv`` for other images."""
    shape = (in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    return nn.Conv2d(*shape, bias=conv.bias is not None)


resnet18 = partial(network, "resnet18")
resnet34 = partial(network, "resnet34")
resnet50 = partial(network, "resnet50")
resnet101 = partial(network, "resnet101")
resnext50 = partial(network, "resnext50_32x4d")
mobilenet_v2 = partial(network, "mobilenet_v2")
shufflenet_v2 = partial(network, "shufflenet_v2_x1_0")
densenet121 = partial(network, "densenet121")
