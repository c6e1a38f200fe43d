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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LinearLR, LRScheduler

from isoshare.evaluators.spiking_network import SpikingTwin, batch_norms
from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.trainer import Epoch, Report, TrainingRun, follow
from isoshare.evaluators.training.vmap_ensemble import TrainedAsOne
from isoshare.evaluators.training_evaluator import TrainingEvaluator, Values
from isoshare.space.apply import extra_loss
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import BackboneError
from isoshare.space.plan import Split, Variant

KEEPING_RATE = 1e-4
"""The learning rate from which on statistics are kept, but never in the first epoch."""

STATISTICS_MOMENTUM = 0.1
"""Of the running statistics, after a plain mean of the first batches: the statistics are kept, so
they must not remember what they were initialised to, however short the first epoch is."""


@dataclass(frozen=True)
class SpikingEvaluator(TrainingEvaluator):
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

    @property
    def conditions(self) -> dict[str, Any]:
        """How the spiking network is simulated."""
        return {"time_steps": self.time_steps, "target_spikes": self.target_spikes}

    def seconds(self, _: int) -> float | None:
        """Unknown: time steps cost what no step of an ordinary network tells."""
        return None

    def side_by_side(self, _: nn.Module) -> bool:
        """Neurons belong to one network."""
        return False

    def training(
        self,
        networks: Sequence[nn.Module],
        seeds: Sequence[int],
        variant: Variant = (),
        as_one: TrainedAsOne | None = None,
    ) -> _ProxyTraining:
        """By proxy, of one network."""
        del variant, as_one  # all are trained alike, one by one
        (network,) = networks
        twin = SpikingTwin(network, self.time_steps, self.target_spikes)
        data, settings = self.train_batches, self.training_settings
        return _ProxyTraining([network], data, settings, seeds, Proxy(network, twin))

    def values(
        self, training: TrainingRun, split: Split, rungs: Sequence[int], kept: Checkpoint
    ) -> Iterator[tuple[int | None, list[Values]]]:
        """Of the spiking network."""
        assert isinstance(training, _ProxyTraining), "made by the function above"
        twin = training.twin

        def scored(_: Epoch) -> list[Values]:
            return [score(twin.eval(), self.held_out[split])]

        yield from self._at_rungs(training.run(kept), scored, rungs, kept)


def train_by_proxy(  # noqa: PLR0913  what is trained, and who hears of it
    network: nn.Module,
    twin: SpikingTwin,
    data: Batches,
    settings: TrainingSettings,
    seed: int,
    *,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Train ``network``, and with it its ``twin``, in place; the learning rate falls to 0.

    report: hears of each epoch and may end the training. checkpoint: a file from which a killed or
    stopped training goes on, as in ``train``.

    Raises EvaluationError when a loss is no longer a number, or the memory does not suffice.
    """
    training = _ProxyTraining([network], data, settings, [seed], Proxy(network, twin))
    follow(training.run(Checkpoint(checkpoint)), settings, report)
    network.eval()
    twin.eval()


class Proxy:
    """A network and its spiking twin, trained as one (``TrainedAsOne``)."""

    def __init__(self, network: nn.Module, twin: SpikingTwin) -> None:
        self.network, self.twin = network, twin
        parameters = dict(network.named_parameters())
        of_the_twin = {f"twin.{name}": tensor for name, tensor in twin.network.named_buffers()}
        self.parameters: list[Tensor] = [one for one in parameters.values() if one.requires_grad]
        self.tensors: dict[str, Tensor] = {
            **parameters,
            **dict(network.named_buffers()),
            **of_the_twin,
        }

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (1, batch, ...). The logits that the spikes stand for, (1, batch, classes), with
        the gradient of the network's own; and what the sharing methods add to the loss.
        """
        logits: Tensor = self.network(images[0])
        spiking = self.twin(images[0])[0] / self.twin.target_spikes
        extra = extra_loss(self.network)
        proxied = logits + (spiking - logits).detach()
        return proxied[None], logits.new_zeros(1) if extra is None else extra[None]

    def trained(self, images: Tensor) -> Tensor:
        """Spike counts (1, batch, classes): a Forward."""
        self.train(False)
        counts: Tensor = self.twin(images[0])[0]
        return counts[None]

    def train(self, mode: bool) -> None:
        """The twin stays in evaluation mode."""
        self.network.train(mode)
        self.twin.eval()


def proxy_loss(proxy: TrainedAsOne, images: Tensor, labels: Tensor) -> Tensor:
    """The squared error of the spiking network for images (1, batch, ...), as a function of the
    logits of the other one.

    The target of the right class is 1, that of the others 0; silence costs 1 / classes. What the
    sharing methods add to the loss is added.
    """
    logits, extra = proxy(images)
    target = functional.one_hot(labels, logits.shape[-1]).to(logits)
    return functional.mse_loss(logits, target) + extra.sum()


@dataclass
class _ProxyTraining(TrainingRun):
    """A training by proxy that is under way: of networks that are given as one ``Proxy``."""

    @property
    def twin(self) -> SpikingTwin:
        """The spiking network."""
        assert isinstance(self.stack, Proxy), "whoever begins such a training gives one"
        return self.stack.twin

    def optimization(self, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """The learning rate falls linearly to 0."""
        optimizer = _optimizer(self.stack.parameters, self.settings)
        return optimizer, LinearLR(optimizer, 1.0, 1 / steps, steps - 1)

    def loss_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """Of a batch; batch normalisation learns from it as long as it shall."""
        learning = self.epoch == 0 or self.schedule.get_last_lr()[0] > KEEPING_RATE
        step = self.schedule.last_epoch + 1 if learning else None
        _prepare(self.networks[0], self.twin, step)
        return proxy_loss(self.stack, self.data.normalised(images), labels)


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


def _prepare(network: nn.Module, twin: SpikingTwin, step: int | None) -> None:
    """Let batch normalisation learn from the next batch, the ``step``-th from 1, or no more."""
    twin.eval()  # so that it keeps no kernel made from weights that have moved since
    for norm in batch_norms(network) + batch_norms(twin):
        norm.train(step is not None)
        if step is not None and norm.momentum is not None:
            norm.momentum = max(STATISTICS_MOMENTUM, 1 / step)


def _optimizer(trained: list[Tensor], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The authors' Adam, with decoupled weight decay; or the SGD that trains ANNs here."""
    rate = settings.learning_rate
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=rate, betas=(0.8, 0.99), weight_decay=1e-6, fused=True)
    return torch.optim.SGD(trained, lr=rate, momentum=0.9, nesterov=True, fused=True)
