"""Train networks on images that are in memory: short trainings that rank plans, on one device.

Stochastic gradient descent with Nesterov momentum, or AdamW, under a one-cycle schedule (Smith and
Topin 2017, arXiv 1708.07120). The same seeds give the same networks on a CPU, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from isoshare.evaluators.training.batches import Batches, shuffled
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.gradient_accumulation import (
    EvaluationError,
    Pieces,
)
from isoshare.evaluators.training.optimizers import (
    TrainingSettings,
    complete_momenta,
    one_cycle,
)
from isoshare.evaluators.training.vmap_ensemble import (
    Forward,
    Stack,
    TrainedAsOne,
    worth_stacking,
)

Report = Callable[[int, int, Mapping[str, float]], bool | None]
"""Called after each epoch with its number from 1, the number of epochs, and its values: "loss", the
mean over its images and over the seeds. Returns True to end the training here; nothing to go on.
"""

AUXILIARY_WEIGHT = 0.3
"""Of each auxiliary output's loss: Szegedy et al. 2015 (GoogLeNet, CVPR), arXiv 1409.4842."""


@dataclass(frozen=True)
class Epoch:
    """An epoch that is over. forward: the networks as they are now, in evaluation mode; it is good
    until the next epoch begins.
    """

    number: int
    loss: float
    forward: Forward


def train(  # noqa: PLR0913  what is trained, and two that may be left out
    networks: Sequence[nn.Module],
    data: Batches,
    settings: TrainingSettings,
    seeds: Sequence[int],
    *,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> Forward:
    """Train networks of one architecture side by side, as ``epochs`` does. As ``finish``."""
    return finish(TrainingRun(networks, data, settings, seeds), report, checkpoint)


def finish(training: TrainingRun, report: Report | None, checkpoint: Path | None) -> Forward:
    """Run a training to its end, or until ``report``, which hears of each epoch, ends it.

    Returns the networks as one function of normalised images, in evaluation mode, with weights that
    are contiguous. checkpoint: as in ``epochs``; the end of the training is kept in it too.
    """
    kept = Checkpoint(checkpoint)
    forward = follow(training.run(kept), training.settings, report).forward
    kept.save(training.state())
    for network in training.networks:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return forward


def follow(training: Generator[Epoch], settings: TrainingSettings, report: Report | None) -> Epoch:
    """The last epoch of a training, or the one in which ``report`` ends it."""
    last = next(training)
    for last in training:
        if report and report(last.number, settings.epochs, {"loss": last.loss}):
            training.close()
    return last


def epochs(
    networks: Sequence[nn.Module],
    data: Batches,
    settings: TrainingSettings,
    seeds: Sequence[int],
    *,
    checkpoint: Path | None = None,
) -> Generator[Epoch]:
    """Train networks of one architecture side by side; ``seeds`` decide the order of the images.

    Yields where it begins, which is epoch 0 or the last one of the checkpoint, then each epoch.
    One network is trained in place by ordinary calls; several must allow ``torch.func.vmap``.
    A generator that is closed before its end has left a checkpoint, if it has a file for it.

    checkpoint: a file from which a killed or stopped training goes on; it must belong to these very
    networks, data, settings and seeds, and whoever names it removes it.

    Raises EvaluationError when a loss is no longer a number, or the memory does not suffice.
    """
    return TrainingRun(networks, data, settings, seeds).run(Checkpoint(checkpoint))


@dataclass
class TrainingRun:
    """A training that is under way. Another kind of it overrides the functions that say how it
    moves, and what it is to lessen.

    as_one: what computes the networks; a ``Stack`` if it is left out.
    """

    networks: Sequence[nn.Module]
    data: Batches
    settings: TrainingSettings
    seeds: Sequence[int]
    as_one: TrainedAsOne | None = None
    epoch: int = 0
    loss: float = math.nan
    pieces: Pieces = field(default_factory=Pieces)

    def __post_init__(self) -> None:
        self.stack = self.as_one or self._stacked()
        self.generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        self.batches = max(1, len(self.data.labels) // self.settings.batch_size)
        steps = max(1, self.settings.epochs * self.batches)
        self.optimizer, self.schedule = self.optimization(steps)

    def _stacked(self) -> TrainedAsOne:
        settings = self.settings
        return Stack(
            self.networks,
            settings.precision,
            small=worth_stacking(self.networks[0], self.data.images, settings.batch_size),
            compiled=settings.compile,
        )

    def optimization(self, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """How parameters move, and the learning rate of each of ``steps``."""
        return one_cycle(self.stack.parameters, self.settings, steps)

    def run(self, checkpoint: Checkpoint) -> Generator[Epoch]:
        """Where it stands, then all epochs that are left."""
        if (state := checkpoint.load()) is not None:
            self._restore(state)
        try:
            yield Epoch(self.epoch, self.loss, self.stack.trained)
            while self.epoch < self.settings.epochs:
                self.loss = self._run_epoch()
                self.epoch += 1
                if not math.isfinite(self.loss):
                    raise EvaluationError(f"the loss became {self.loss} in epoch {self.epoch}")
                if self.epoch == self.settings.epochs and checkpoint.keeps_end:
                    checkpoint.save(self.end_state())
                elif checkpoint.is_due:
                    checkpoint.save(self.state())
                yield Epoch(self.epoch, self.loss, self.stack.trained)
        except GeneratorExit:
            if 0 < self.epoch < self.settings.epochs:
                checkpoint.save(self.state())
            raise

    def _run_epoch(self) -> float:
        """Returns the mean loss."""
        self.stack.train(True)
        with torch.random.fork_rng():
            # Dropout has a stream of its own in each epoch, so there is no state of it to keep.
            torch.manual_seed(((self.seeds[0] << 20) + self.epoch) % 2**63)
            return self._steps()

    def _steps(self) -> float:
        data, size = self.data, self.settings.batch_size
        total = torch.zeros((), device=data.labels.device)
        for index in shuffled(len(data.labels), self.batches, size, self.generators):
            images = data.augmented(index, self.generators)
            labels = data.labels[index.to(data.labels.device)]
            self.optimizer.zero_grad(set_to_none=True)
            total += self.pieces.backward(self.loss_of, images, labels, self.stack.parameters)
            complete_momenta(self.optimizer)
            self.optimizer.step()
            self.schedule.step()
        return total.item() / (self.batches * len(self.seeds))

    def loss_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean over a batch, summed over the seeds: each seed's own gradient.

        Auxiliary outputs, which a network has in training only, count with AUXILIARY_WEIGHT.
        """
        logits, extra, *auxiliary = self.stack(self.data.normalised(images))
        loss = self.mean_loss(logits, labels)
        for output in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self.mean_loss(output, labels)
        return loss * len(self.seeds) + extra.sum()

    def mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (seeds, batch, classes), a scalar."""
        smoothing = self.settings.label_smoothing
        return functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing
        )

    def state(self) -> dict[str, Any]:
        """Everything that decides how it goes on. Random numbers of an accelerator are left out:
        there nothing repeats bit for bit."""
        return {
            "epoch": self.epoch,
            "loss": self.loss,
            "pieces": self.pieces.count,
            "tensors": {name: tensor.detach() for name, tensor in self.stack.tensors.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
        }

    def end_state(self) -> dict[str, Any]:
        """What is left of it when it has ended: nothing moves any more."""
        moving = ("optimizer", "schedule", "generators")
        return {key: value for key, value in self.state().items() if key not in moving}

    @torch.no_grad()
    def _restore(self, state: dict[str, Any]) -> None:
        for name, tensor in self.stack.tensors.items():
            tensor.copy_(state["tensors"][name])
        self.epoch, self.loss, self.pieces = state["epoch"], state["loss"], Pieces(state["pieces"])
        if "optimizer" not in state:
            return
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        for generator, kept in zip(self.generators, state["generators"], strict=True):
            generator.set_state(kept)
