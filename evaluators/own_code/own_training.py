"""Isoshare's own training for data of any kind: it stands where a function of the user's own would.

    training = isoshare.Training((train, test), loss=dice, metric=miou, epochs=20)
    study.optimize(training, n_trials=40)

The same networks, data and seeds give the same values on a CPU, bit for bit, also where a training
was interrupted and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isoshare.evaluators.data.examples import mapped
from isoshare.evaluators.data.own_data import OwnData, OwnPart, own_data
from isoshare.evaluators.data.randomness import seeded
from isoshare.evaluators.data.splits import DatasetError
from isoshare.evaluators.own_code.own_loop import Loop, Loss, batches, called, default_loss
from isoshare.evaluators.own_code.own_metrics import Metric, measured
from isoshare.evaluators.own_code.trial import EvaluateError, Trial
from isoshare.evaluators.training.batches import device
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.pace import FORWARD, seconds_per_example
from isoshare.evaluators.training.vmap_ensemble import Precision
from isoshare.space.errors import short
from isoshare.space.plan import Split


class Training:
    """A training loop for ``Study.optimize``: one-cycle, SGD or AdamW, with checkpoints."""

    def __init__(  # noqa: PLR0913  one for each option that the command line has
        self,
        data: Any,
        loss: Loss | None = None,
        metric: Metric | None = None,
        *,
        epochs: int = 15,
        batch_size: int = 64,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        learning_rate: float = 0.1,
        label_smoothing: float = 0.0,
        precision: Precision = "auto",
        validation: float = 0.2,
        subset: int | None = None,
    ) -> None:
        """What is trained on, and how.

        Args:
            data: (training set, test set), a dictionary of both, or a function that returns them,
                which is called once in each process. A set is a list of (input, target), a
                ``torch.utils.data.Dataset``, a pair of arrays, or a Hugging Face data set.
            loss: of a batch, ``loss(output, target)``, a scalar tensor; by default cross-entropy
                where targets are whole numbers, else the mean squared error.
            metric: ``metric(outputs, targets)`` of all held-out examples, a number or several by
                name; or an object with ``update``, ``compute`` and ``reset``, as torchmetrics has
                them. By default ``accuracy`` and ``loss``, whichever the study asks for.
            epochs: the length of a training.
            batch_size: examples per step.
            optimizer: ``sgd`` or ``adamw``.
            learning_rate: the peak of its schedule.
            label_smoothing: of the default loss: the share of a label that is spread.
            precision: ``auto``, bfloat16 where the device gains from it; ``float32``; ``bfloat16``.
            validation: the fraction of the training set by which plans are compared.
            subset: use only so many training examples.
        """
        for name, count, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1)):
            if not (isinstance(count, Integral) and count >= least):
                raise DatasetError(
                    f"{name} of a Training is a whole number, {least} or more, got {short(count)}"
                )
        self._data, self._loss, self.metric = data, loss, metric
        self._validation, self._subset = validation, subset
        self.split: Split = "validation"
        self.known: str | None = None
        self.settings = TrainingSettings(
            epochs,
            batch_size,
            learning_rate,
            optimizer,
            label_smoothing,
            precision=precision,
        )

    def __call__(self, network: nn.Module, trial: Trial) -> Any:
        """Train the network of a trial and measure it on the held-out examples."""
        run = Loop(network, trial, self.data.train, self.loss, self.settings)
        for epoch in run.epochs():
            if epoch == self.settings.epochs or trial.wants_report(epoch):
                values = self.measure(network, trial.objectives)
                if epoch < self.settings.epochs:
                    trial.report(values, epoch)
                    if trial.should_stop():
                        run.keep()
                        return values
        return values

    def seconds(self, network: nn.Module) -> float:
        """About how long it takes to train and measure a network, from a few steps of it."""
        train, held_out = self.data.train, self.data.validation
        network.train()

        def step(count: int) -> None:
            inputs, targets = train.batch(range(count))
            targets = mapped(lambda tensor: tensor.to(device()), targets)
            self.loss(called(network, inputs), targets).backward()  # type: ignore[no-untyped-call]

        with seeded(0):
            pace = seconds_per_example(step, min(self.settings.batch_size, len(train)))
        return pace * (len(train) * self.settings.epochs + len(held_out) * FORWARD)

    def on(self, split: Split) -> Training:
        """The same, measured on another part of the data."""
        other = copy(self)
        other.split = split
        return other

    @cached_property
    def data(self) -> OwnData:
        """The examples, obtained now if they were not. Raises DatasetError."""
        given = self._data() if callable(self._data) else self._data
        return own_data(given, self._validation, self._subset)

    def knowing(self, fingerprint: str) -> Training:
        """The same, which refuses data that have another fingerprint."""
        other = copy(self)
        other.known = fingerprint
        return other

    def check(self) -> None:
        """Raise DatasetError if the data are not what they were."""
        if self.known not in (None, found := self.data.fingerprint()):
            raise DatasetError(
                "the data set is not what the study was started on: its fingerprint is "
                f"{found}, not {self.known}; if it changes by chance, seed what it draws, or "
                "launch a new study for it"
            )

    @property
    def code(self) -> tuple[object, ...]:
        """What has to travel with it to other processes."""
        return tuple(one for one in (self._data, self._loss, self.metric) if one is not None)

    def __getstate__(self) -> dict[str, Any]:
        """A function's data are made again where they are needed."""
        state = dict(vars(self))
        if callable(self._data):
            state.pop("data", None)
        return state

    def loss(self, output: Any, target: Any) -> Tensor:
        """Of a batch. Raises EvaluateError for what is no loss."""
        if self._loss is None:
            return default_loss(output, target, self.settings.label_smoothing)
        found = self._loss(output, target)
        if not isinstance(found, Tensor) or found.ndim:
            shape = f" of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
            raise EvaluateError(
                f"the loss has to be a tensor without dimensions, got a {type(found).__name__}"
                f"{shape}: take its mean"
            )
        return found

    def measure(self, network: nn.Module, objectives: Sequence[str]) -> Any:
        """What the metric says of the held-out examples."""
        part: OwnPart = getattr(self.data, self.split)
        network.eval()
        with torch.no_grad():
            pairs = (
                (called(network, inputs), targets)
                for inputs, targets in batches(part, range(len(part)), self.settings.batch_size)
            )
            return measured(pairs, self.metric, self.loss, objectives)
