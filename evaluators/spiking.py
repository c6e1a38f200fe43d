"""Score a plan as a spiking network, trained through the ANN that has the same parameters.

Proxy learning: Kheradpisheh, Mirsadeghi, Masquelier 2022, arXiv 2109.13208. The spiking network
cannot be differentiated, its twin with ReLU can: the error of the spike counts is sent back
through the twin, as if the counts had been its logits. As both read the same parameters through
the same sharing methods, any plan can be trained so.

Batch normalisation learns its statistics in the first epoch, each network its own, and keeps them;
its scales and shifts are trained to the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.evaluate import Evaluator, Measured, Split
from evaluators.spiking_network import SpikingTwin, batch_norms
from evaluators.training import Batches, EvaluationError, TrainingSettings
from space.apply import extra_loss
from space.plan import SharingPlan

STATISTICS_MOMENTUM = 0.1
"""Of the running statistics, after a plain mean of the first batches: the statistics are kept, so
they must not remember what they were initialised to, however short the first epoch is."""


@dataclass(frozen=True)
class SpikingEvaluator(Evaluator):
    """Accuracy and spikes of the plan's spiking network after a training by proxy."""

    time_steps: int = 15

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split
    ) -> Iterator[list[Measured]]:
        """Train once for each seed on the training images, measure the twin on ``split``."""
        for seed in seeds:
            started = time.perf_counter()
            network = self._network(plan, seed)
            twin = train_by_proxy(network, self._train, self.settings, seed, self.time_steps)
            values = score(twin, self._held_out[split])
            yield [Measured(seed, values, time.perf_counter() - started)]


def train_by_proxy(
    network: nn.Module, data: Batches, settings: TrainingSettings, seed: int, time_steps: int
) -> SpikingTwin:
    """Train ``network`` in place as the proxy of its spiking twin; returns the twin.

    The learning rate falls linearly to 0: no peak later than the first epoch, whose statistics
    are kept. Raises EvaluationError when a loss is no longer a number.
    """
    twin = SpikingTwin(network, time_steps)
    order = torch.Generator().manual_seed(seed)
    batches = max(1, len(data.labels) // settings.batch_size)
    optimizer = _optimizer(network, settings)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, 1.0, 1 / (settings.epochs * batches), settings.epochs * batches - 1
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # for dropout
        for epoch in range(settings.epochs):
            images = torch.randperm(len(data.labels), generator=order)
            chunks = images[: batches * settings.batch_size].tensor_split(batches)
            for step, batch in enumerate(chunks, start=1):
                _prepare_norms(network.train(), twin, step if epoch == 0 else None)
                loss = proxy_loss(network, twin, data.images[batch], data.labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            if not math.isfinite(loss.item()):
                raise EvaluationError(f"the loss became {loss.item()} in epoch {epoch + 1}")
    network.eval()
    twin.eval()
    return twin


def proxy_loss(network: nn.Module, twin: SpikingTwin, images: Tensor, labels: Tensor) -> Tensor:
    """The squared error of the spike counts, as a function of the logits of ``network``.

    The right class shall spike once and the others never; silence costs 1 / classes. What the
    sharing methods add to the loss is added.
    """
    logits: Tensor = network(images)
    counts, _ = twin(images)
    target = functional.one_hot(labels, logits.shape[1]).to(logits)
    loss = functional.mse_loss(logits + (counts - logits).detach(), target)
    extra = extra_loss(network)
    return loss if extra is None else loss + extra


@torch.no_grad()
def score(twin: SpikingTwin, data: Batches, batch_size: int = 64) -> dict[str, float]:
    """accuracy: the share of images for which their class spikes most; spikes: the mean an image.

    Of classes that spike equally often the first one counts, so silence is the first class. (The
    authors' last figure takes every such image as correct.)
    """
    correct, spikes = 0.0, 0.0
    for start in range(0, len(data.labels), batch_size):
        part = slice(start, start + batch_size)
        counts, spent = twin(data.images[part])
        correct += (counts.argmax(-1) == data.labels[part]).sum().item()
        spikes += spent.sum().item()
    return {"accuracy": correct / len(data.labels), "spikes": spikes / len(data.labels)}


def _prepare_norms(network: nn.Module, twin: SpikingTwin, step: int | None) -> None:
    """Let batch normalisation learn from the next batch, the ``step``-th from 1, or no more."""
    for norm in batch_norms(network) + batch_norms(twin):
        norm.train(step is not None)
        if step is not None and norm.momentum is not None:
            norm.momentum = max(STATISTICS_MOMENTUM, 1 / step)


def _optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The authors' Adam, with decoupled weight decay; or the SGD that trains ANNs here."""
    trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
    rate = settings.learning_rate
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            trained, lr=rate, betas=(0.8, 0.99), weight_decay=1e-6, fused=True
        )
    return torch.optim.SGD(trained, lr=rate, momentum=0.9, nesterov=True, fused=True)
