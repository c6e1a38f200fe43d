"""The loop of a training on data of any kind; a killed one goes on from its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.evaluators.data.examples import mapped
from isoshare.evaluators.data.own_data import OwnPart
from isoshare.evaluators.data.randomness import seeded
from isoshare.evaluators.own_code.trial import EvaluateError, Trial
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.optimizers import (
    TrainingSettings,
    complete_momenta,
    one_cycle,
)
from isoshare.evaluators.training.vmap_ensemble import trains_in_bfloat16
from isoshare.space.apply import extra_loss

Loss = Callable[[Any, Any], Tensor]


class Loop:
    """One training of one network that is under way.

    part: what it is trained on. loss: of a batch, of its outputs and targets.
    """

    def __init__(
        self,
        network: nn.Module,
        trial: Trial,
        part: OwnPart,
        loss: Loss,
        settings: TrainingSettings,
    ) -> None:
        self._network, self._seed, self._part, self._loss = network, trial.seed, part, loss
        self._settings = settings
        self._device = trial.device
        self._steps = max(1, len(part) // settings.batch_size)
        trained: list[Tensor] = [one for one in network.parameters() if one.requires_grad]
        steps = max(1, settings.epochs * self._steps)
        self._optimizer, self._schedule = one_cycle(trained, settings, steps)
        self._bfloat16 = trains_in_bfloat16(settings.precision, trial.device)
        self._epoch = 0
        self._checkpoint = Checkpoint(trial.file("training.pt"))

    def epochs(self) -> Iterator[int]:
        """The numbers of the epochs that have ended, from where it stands."""
        if (state := self._checkpoint.load()) is not None:
            self._restore(state)
        yield self._epoch
        while self._epoch < self._settings.epochs:
            with seeded((self._seed << 20) + self._epoch):
                loss = self._run_epoch()
            self._epoch += 1
            if not math.isfinite(loss):
                raise EvaluateError(
                    f"the loss became {loss} in epoch {self._epoch}: a lower learning rate may help"
                )
            if self._checkpoint.is_due:
                self.keep()
            yield self._epoch

    def keep(self) -> None:
        """Write the checkpoint."""
        self._checkpoint.save(
            {
                "epoch": self._epoch,
                "network": self._network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._epoch = state["epoch"]

    def _run_epoch(self) -> float:
        """Returns the mean loss."""
        self._network.train()
        size = min(self._settings.batch_size, len(self._part))
        order = torch.randperm(len(self._part)).tolist()[: self._steps * size]
        total = torch.zeros((), device=self._device)
        for inputs, targets in batches(self._part, order, size):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
                output = called(self._network, inputs)
                loss = self._loss(output, mapped(self._moved, targets))
            if (extra := extra_loss(self._network)) is not None:
                loss = loss + extra
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            complete_momenta(self._optimizer)
            self._optimizer.step()
            self._schedule.step()
            total += loss.detach()
        return total.item() / self._steps

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)


def batches(part: OwnPart, order: Sequence[int], size: int) -> Iterator[tuple[Any, Any]]:
    """The examples of a part in this order, in batches."""
    for start in range(0, len(order), size):
        yield part.batch(order[start : start + size])


def called(network: nn.Module, inputs: Any) -> Any:
    """The output for a batch: a tuple of inputs are several arguments, a dictionary named ones."""
    device = next(network.parameters()).device
    inputs = mapped(lambda tensor: tensor.to(device), inputs)
    if isinstance(inputs, dict):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


def default_loss(output: Any, target: Any, smoothing: float) -> Tensor:
    """Cross-entropy, or the mean squared error. Raises EvaluateError where neither fits."""
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        raise EvaluateError(
            f"the usual loss needs a tensor of outputs and one of targets, got a "
            f"{type(output).__name__} and a {type(target).__name__}: give a loss of your own"
        )
    if not target.is_floating_point():
        return functional.cross_entropy(output, target, label_smoothing=smoothing)
    if output.shape != target.shape:
        raise EvaluateError(
            f"outputs have shape {tuple(output.shape)} and targets {tuple(target.shape)}: they "
            "have to be equal, or give a loss of your own"
        )
    return functional.mse_loss(output, target)
