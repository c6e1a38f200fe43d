"""Zero-cost scores: what can be said of a network before it is trained, to screen candidates.

Each score takes a fresh network and one batch, and is higher for networks expected to be better.
How well they order plans is measured, not assumed: docs/benchmarks.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from evaluators.batches import Batches

Score = Callable[[nn.Module, Batches], float]


def synflow(network: nn.Module, data: Batches) -> float:
    """Synaptic flow (Tanaka et al. 2020, arXiv 2006.05467), as log10(1 + sum of |θ ∂R/∂θ|).

    R is the sum of the outputs for an image of ones when all weights are positive and batch
    normalisation is passed by. In double precision, since products over layers are large.
    """
    positive = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for tensor in positive.parameters():
            tensor.abs_()
    for part in positive.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.register_forward_hook(lambda _, inputs, __: inputs[0])
    total: Any = positive(torch.ones_like(data.images[:1], dtype=torch.float64)).sum()
    total.backward()
    flow = sum(
        float((tensor.detach() * tensor.grad).abs().sum())
        for tensor in positive.parameters()
        if tensor.grad is not None
    )
    return float(torch.tensor(flow, dtype=torch.float64).log1p() / torch.log(torch.tensor(10.0)))


def naswot(network: nn.Module, data: Batches) -> float:
    """Neural architecture search without training (Mellor et al. 2021, arXiv 2006.04647): the log
    determinant of how many rectified units agree, on or off, between each two images.
    """
    network = copy.deepcopy(network).train()
    with torch.no_grad(), _Rectified() as rectified:
        network(data.normalised(data.images))
    agreement = torch.zeros(len(data.images), len(data.images), dtype=torch.float64)
    for units in rectified.on:
        agreement += units @ units.T + (1 - units) @ (1 - units).T
    return float(torch.linalg.slogdet(agreement.cpu()).logabsdet)


def gradient_norm(network: nn.Module, data: Batches) -> float:
    """The Euclidean norm of the gradient of the loss on the batch."""
    network = copy.deepcopy(network).train()
    loss: Any = functional.cross_entropy(network(data.normalised(data.images)), data.labels)
    loss.backward()
    gradients = [tensor.grad for tensor in network.parameters() if tensor.grad is not None]
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


SCORES: dict[str, Score] = {
    "synflow": synflow,
    "naswot": naswot,
    "gradient_norm": gradient_norm,
}
"""Beside them there is the projection error, which needs a trained network
(``evaluators.inheritance.inherit``)."""


class _Rectified(TorchFunctionMode):
    """Records which units each call of ReLU leaves on: (images, units), ones and zeros.

    ReLU is caught as a function, so that it is found in modules and in forward methods alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in RELUS:
            self.on.append((result > 0).flatten(1).double())
        return result


RELUS = {
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    functional.relu,
    functional.relu_,
    functional.relu6,
}
