"""Score a plan as a spiking network, trained through the ANN that has the same parameters.

Proxy learning: Kheradpisheh, Mirsadeghi, Masquelier 2022, arXiv 2109.13208. The spiking network
cannot be differentiated, its twin with ReLU can: the error of the spike counts is sent back
through the twin, as if the counts had been its logits. As both read the same parameters through
the same sharing methods, any plan can be trained so.

A neuron whose current is x at every step spikes about T x / θ times in T steps, so a count of n
stands for a logit of θ n / T, and the target 1 of the right class for T / θ spikes. The authors
compare the counts themselves with the target: the right class shall spike once. A network that is
less than half sure is then better silent, and all silent images are taken for the first class:
right for the long trainings of the paper, and no way to rank short ones (docs/decisions.md).

Batch normalisation learns its statistics, each network its own, for the first epoch and as long as
the learning rate is above the authors' 0.0001; then it keeps them, while its scales and shifts are
trained to the end. The loss does not see the logits of the ANN: with kept statistics and a high
learning rate nothing would hold them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.batches import shuffled
from evaluators.evaluate import Evaluator, Measured, Split
from evaluators.spiking_network import SpikingTwin, batch_norms
from evaluators.training import Batches, EvaluationError, Report, TrainingSettings
from space.apply import extra_loss
from space.backbones import build_backbone
from space.errors import BackboneError
from space.plan import SharingPlan

KEEPING_RATE = 1e-4
"""The learning rate from which on statistics are kept, but never in the first epoch."""

STATISTICS_MOMENTUM = 0.1
"""Of the running statistics, after a plain mean of the first batches: the statistics are kept, so
they must not remember what they were initialised to, however short the first epoch is."""


@dataclass(frozen=True)
class SpikingEvaluator(Evaluator):
    """Accuracy and spikes of the plan's spiking network after a training by proxy.

    target_spikes: of the right class; without a number those of a logit of 1, T / θ.
    """

    time_steps: int = 15
    target_spikes: float | None = None

    def __post_init__(self) -> None:
        """One image through the backbone's twin: a search that can only fail shall not start."""
        twin = SpikingTwin(build_backbone(self.backbone, self.arguments), self.time_steps)
        try:
            twin(torch.zeros(1, *self.dataset.train.images.shape[1:]))
        except EvaluationError as error:
            raise BackboneError(f"backbone {self.backbone!r} cannot spike: {error}") from error

    def __call__(
        self,
        plan: SharingPlan,
        seeds: Sequence[int],
        split: Split,
        rungs: Sequence[int] = (),  # noqa: ARG002  a network that spikes is measured at the end
    ) -> Iterator[list[Measured]]:
        """Train once for each seed on the training images, measure the twin on ``split``."""
        for seed in seeds:
            started = time.perf_counter()
            network = self.network(plan, seed)
            twin = SpikingTwin(network, self.time_steps, self.target_spikes)
            train_by_proxy(network, twin, self.train_batches, self.settings, seed)
            values = score(twin, self.held_out[split])
            yield [Measured(seed, values, time.perf_counter() - started)]


def train_by_proxy(  # noqa: PLR0913  what is trained, and who hears of it
    network: nn.Module,
    twin: SpikingTwin,
    data: Batches,
    settings: TrainingSettings,
    seed: int,
    *,
    report: Report | None = None,
) -> None:
    """Train ``network``, and with it its ``twin``, in place.

    report: hears of each epoch and may end the training.

    The learning rate falls linearly to 0. Raises EvaluationError when a loss is no longer a number.
    """
    order = torch.Generator().manual_seed(seed)
    batches = max(1, len(data.labels) // settings.batch_size)
    optimizer = _optimizer(network, settings)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, 1.0, 1 / (settings.epochs * batches), settings.epochs * batches - 1
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # for dropout
        for epoch in range(settings.epochs):
            total = 0.0
            chunks = shuffled(len(data.labels), batches, settings.batch_size, [order])
            for step, batch in enumerate(chunks, start=1 + epoch * batches):
                learning = epoch == 0 or schedule.get_last_lr()[0] > KEEPING_RATE
                _prepare_norms(network.train(), twin, step if learning else None)
                images = data.normalised(data.augmented(batch, [order])[0])
                loss = proxy_loss(network, twin, images, data.labels[batch[0]])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += loss.item() / batches
            if not math.isfinite(total):
                raise EvaluationError(f"the loss became {total} in epoch {epoch + 1}")
            if report and report(epoch + 1, settings.epochs, {"loss": total}):
                break
    network.eval()
    twin.eval()


def proxy_loss(network: nn.Module, twin: SpikingTwin, images: Tensor, labels: Tensor) -> Tensor:
    """The squared error of the spiking network, as a function of the logits of ``network``.

    The target of the right class is 1, that of the others 0; silence costs 1 / classes. What the
    sharing methods add to the loss is added.
    """
    logits: Tensor = network(images)
    spiking = twin(images)[0] / twin.target_spikes
    target = functional.one_hot(labels, logits.shape[1]).to(logits)
    loss = functional.mse_loss(logits + (spiking - logits).detach(), target)
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
        counts, spent = twin(data.normalised(data.images[part]))
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
        return torch.optim.AdamW(trained, lr=rate, betas=(0.8, 0.99), weight_decay=1e-6, fused=True)
    return torch.optim.SGD(trained, lr=rate, momentum=0.9, nesterov=True, fused=True)
