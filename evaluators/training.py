"""Train networks on images that are in memory: short trainings that rank plans, on one device.

Stochastic gradient descent with Nesterov momentum, or AdamW, under a one-cycle schedule (Smith and
Topin 2017, arXiv 1708.07120). The same seeds give the same networks on a CPU, bit for bit.

A small network spends its time in calling operators, not in computing. Several seeds of one plan
are therefore trained side by side as one network with one more dimension (``torch.func.vmap``):
eight seeds of a small ResNet take about as long as four of them one after another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from evaluators.datasets import Part
from space.apply import extra_loss

Forward = Callable[[Tensor], Tensor]
"""Images (seeds, batch, channels, height, width) to logits (seeds, batch, classes)."""

TrainingForward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The same, and what the sharing methods add to the loss (seeds,)."""

STACKABLE_WORK = 1e9
"""Parameters x pixels x batch size up to which seeds are trained side by side: where an operator
takes longer than its call, one after another is as fast (benchmarks/stacking.py)."""


class EvaluationError(Exception):
    """A plan that was trained, or could not be, without a usable result."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; learning_rate is the peak of the schedule."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["sgd", "adamw"] = "sgd"


@dataclass(frozen=True)
class Batches:
    """A part of a data set on the device: normalised images and labels."""

    images: Tensor
    labels: Tensor


def use_threads(count: int) -> None:
    """How many threads torch may use in this process, so that workers do not fight for cores."""
    torch.set_num_threads(count)


def device() -> torch.device:
    """The accelerator where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normalised(part: Part, reference: Part) -> Batches:
    """``part`` on the device, its images scaled by mean and deviation of ``reference``, by channel.

    reference: the training images, so that nothing is learned from the others.
    """
    pixels = torch.from_numpy(reference.images).float()
    mean = pixels.mean(dim=(0, 2, 3), keepdim=True)
    deviation = pixels.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    images = (torch.from_numpy(part.images).float() - mean) / deviation
    return Batches(images.to(device()), torch.from_numpy(part.labels).to(device()))


def worth_stacking(network: nn.Module, images: Tensor, batch_size: int) -> bool:
    """Whether seeds are trained side by side: a rule, not a timing, so that it repeats."""
    parameters = sum(tensor.numel() for tensor in network.parameters())
    pixels = images.shape[-1] * images.shape[-2]
    return parameters * pixels * batch_size <= STACKABLE_WORK


def train(
    networks: Sequence[nn.Module], data: Batches, settings: TrainingSettings, seeds: Sequence[int]
) -> Forward:
    """Train networks of one architecture side by side; ``seeds`` decide the order of the images.

    Returns the trained networks as one function, in evaluation mode. One network is trained in
    place by ordinary calls; several must allow ``torch.func.vmap``.
    Raises EvaluationError when a loss is no longer a number.
    """
    forward, parameters, modules = _stacked(networks)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    batches = max(1, len(data.labels) // settings.batch_size)
    optimizer = _optimizer(parameters, settings)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * batches
    )
    modules.train()
    for epoch in range(settings.epochs):
        for batch in _shuffled(len(data.labels), batches, settings.batch_size, orders):
            labels = data.labels[batch].flatten()
            logits, extra = forward(data.images[batch])
            # The mean over a batch, summed over the seeds: each seed's own gradient.
            loss = functional.cross_entropy(logits.flatten(0, 1), labels) * len(seeds) + extra.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if not math.isfinite(loss.item()):
            raise EvaluationError(f"the loss became {loss.item()} in epoch {epoch + 1}")
    modules.eval()
    return lambda images: forward(images)[0]


@torch.no_grad()
def accuracy(forward: Forward, seeds: int, data: Batches, batch_size: int = 1024) -> list[float]:
    """For each seed the share of images whose largest logit is their label, from 0 to 1."""
    correct = torch.zeros(seeds, dtype=torch.long, device=data.labels.device)
    for start in range(0, len(data.labels), batch_size):
        images = data.images[start : start + batch_size]
        labels = data.labels[start : start + batch_size]
        logits = forward(images.expand(seeds, *images.shape))
        correct += (logits.argmax(-1) == labels).sum(-1)
    return [count / len(data.labels) for count in correct.tolist()]


class _WithExtraLoss(nn.Module):
    """A network that returns what its sharing methods add to the loss beside its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.has_loss = extra_loss(network) is not None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (batch, channels, height, width); returns (batch, classes) and a scalar."""
        logits = self.network(x)
        extra = extra_loss(self.network) if self.has_loss and self.training else None
        return logits, logits.new_zeros(()) if extra is None else extra


def _stacked(networks: Sequence[nn.Module]) -> tuple[TrainingForward, list[Tensor], nn.Module]:
    """The networks as one function, its parameters, and the module whose mode decides."""
    if len(networks) == 1:
        network = _WithExtraLoss(networks[0])

        def single(x: Tensor) -> tuple[Tensor, Tensor]:
            logits, extra = network(x[0])
            return logits[None], extra[None]

        return single, list(network.parameters()), network
    parameters, buffers = stack_module_state([_WithExtraLoss(network) for network in networks])
    skeleton = copy.deepcopy(_WithExtraLoss(networks[0]))

    def one(
        params: dict[str, Tensor], state: dict[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = functional_call(skeleton, (params, state), (x,))
        return outputs

    stacked = vmap(one, randomness="different")
    return lambda x: stacked(parameters, buffers, x), list(parameters.values()), skeleton


def _optimizer(parameters: list[Tensor], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Weight decay applies to every parameter."""
    rate = settings.learning_rate
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )
    return torch.optim.SGD(
        parameters, lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )


def _shuffled(
    length: int, batches: int, batch_size: int, orders: Sequence[torch.Generator]
) -> tuple[Tensor, ...]:
    """The indices of an epoch: for each batch (seeds, batch size), each seed in its own order."""
    indices = torch.stack([torch.randperm(length, generator=order) for order in orders])
    return indices[:, : batches * batch_size].tensor_split(batches, dim=1)
