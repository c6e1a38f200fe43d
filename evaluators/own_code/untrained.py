"""Layers that a search decides on and a training of the user's own has never used.

Where a sample of the input is known this is seen before a search starts
(space/passes/acting_sites.py). Elsewhere the first training shows it: a layer that nothing calls,
or whose weight is read past it, has no gradient and is what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def untrained(
    network: nn.Module, fresh: Callable[[], nn.Module], sites: Sequence[str]
) -> list[str]:
    """Those of ``sites`` whose trainable tensors have no gradient, and are as they were before.

    network: after its training; fresh: makes it as it was before. Empty where the training has left
    no gradients at all, as then nothing can be told.
    """
    held = (tensor for part in network.modules() for tensor in part._parameters.values())
    if not sites or all(tensor is None or tensor.grad is None for tensor in held):
        return []
    parts = dict(network.named_modules())  # a variant may lack some
    idle = [name for name in sites if name in parts and _is_without_gradient(parts[name])]
    before = fresh() if idle else network
    return [
        name
        for name in idle
        if all(
            torch.equal(tensor, other)
            for tensor, other in zip(
                _trainable(network.get_submodule(name)),
                _trainable(before.get_submodule(name)),
                strict=True,
            )
        )
    ]


def _trainable(layer: nn.Module) -> list[Tensor]:
    return [tensor for tensor in layer.parameters() if tensor.requires_grad]


def _is_without_gradient(layer: nn.Module) -> bool:
    trainable = _trainable(layer)
    return bool(trainable) and all(tensor.grad is None for tensor in trainable)
