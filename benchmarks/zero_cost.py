"""Scores: what can be said of a plan before its network is trained, to screen candidates.

Each is higher for plans expected to be better, and the same whenever it is asked for. Some take a
fresh network and one batch, one takes the weights of the trained unshared network and no data. How
well they order plans, and what they cost, is measured and not assumed: docs/benchmarks.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from isoshare.evaluators.inheriting.weight_projection import inherit
from isoshare.evaluators.training.batches import Batches
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import find_sites, searched_sites

FreshScore = Callable[[nn.Module, Batches], float]


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


@dataclass(frozen=True)
class Known:
    """What plans are scored by; each score needs one of the two.

    backbone: the unshared network as it is built. data: one batch, of the training images.
    trained: the same network after training, with how much its loss depends on each element
    (``isoshare.evaluators.inheriting.fisher_information.fisher``), or None where all count alike.
    """

    backbone: nn.Module
    data: Batches | None = None
    trained: nn.Module | None = None
    importance: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class ScoreRow:
    """One row of SCORES: a function of a fresh network and a batch, or of trained weights."""

    summary: str
    fresh: FreshScore | None = None
    projected: Callable[[Known, SharingPlan], float] | None = None


def score(name: str, plan: SharingPlan, known: Known, seed: int = 0) -> float:
    """A number of ``plan``, higher for better ones; in no unit, so only its order counts.

    seed: of the fresh network's weights; the same seed gives the same number. Raises IsoshareError
    for an unknown score, and for one that needs what is not known.
    """
    if name not in SCORES:
        raise IsoshareError(one_of("score", name, SCORES))
    row = SCORES[name]
    missing = "one batch of data" if row.fresh else "the trained unshared network"
    if (known.data if row.fresh else known.trained) is None:
        raise IsoshareError(f"score {name!r} needs {missing}: give it, or take another score")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if row.projected is not None:
            return row.projected(known, plan)
        assert row.fresh is not None
        assert known.data is not None
        return row.fresh(apply_plan(known.backbone, plan, weights="fresh"), known.data)


def projection_error(known: Known, plan: SharingPlan) -> float:
    """Minus the share of a trained kernel that is lost in its bank, the mean over the sites that a
    search decides on: from -1 to 0, which is that of the unshared network. Needs no data.
    """
    assert known.trained is not None
    _, lost = inherit(known.trained, plan, known.importance)
    return -sum(lost.values()) / len(
        searched_sites(find_sites(known.trained), count_parameters(known.trained))
    )


SCORES: dict[str, ScoreRow] = {
    "synflow": ScoreRow("synaptic flow of the fresh network", fresh=synflow),
    "naswot": ScoreRow("how differently images turn units on", fresh=naswot),
    "gradient_norm": ScoreRow("the norm of the first gradient", fresh=gradient_norm),
    "projection_error": ScoreRow("what banks keep of trained kernels", projected=projection_error),
}


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
