"""Measure a plan: build its network, train it for a few epochs, count what it gets right."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.evaluators.plans_together import measured_together, most_together
from isoshare.evaluators.training.batches import Batches, normalised
from isoshare.evaluators.training.checkpoints import Checkpoint, training_file
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.pace import is_past
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import Epoch, TrainingRun
from isoshare.evaluators.training.vmap_ensemble import TrainedAsOne, worth_stacking
from isoshare.evaluators.trial_cost import seconds_of_a_plan
from isoshare.space.apply import apply_plan, count_parameters, plan_parameters
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.errors import typed_in_one_line
from isoshare.space.plan import SharingPlan, Split, Variant
from isoshare.space.sites import find_sites

Values = dict[str, float]
"""Measured objectives."""

ON_DEVICE = ("train_batches", "held_out")
"""Cached properties of an evaluator that stay in their process."""


@dataclass(frozen=True)
class TrainingEvaluator(Evaluator):
    """Short training from scratch, on the training images only.

    checkpoints: a folder where trainings that take longer than seconds leave their state, so that
    a killed one goes on; each is deleted when whoever asked has taken its measurement. keeps_ends:
    the ends of trainings that were measured on validation images stay there, so that the test
    images need no training; ``file_name`` says where, and whoever asked deletes them.
    """

    backbone: str
    arguments: Mapping[str, Argument]
    dataset: Dataset
    settings: TrainingSettings
    checkpoints: Path | None = None
    keeps_ends: bool = False
    _stackable: bool = field(default=True, init=False, repr=False, compare=False)
    _deadline: float | None = field(default=None, init=False, repr=False, compare=False)

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """Train on the training images, once for each seed, and measure on ``split``.

        Seeds are trained side by side where networks are small, and one after another where
        ``torch.func.vmap`` cannot follow a network.

        All plans get the same seeds: initial weights and the order of the images are common random
        numbers, so that plans differ by their sharing and not by their luck.
        """
        ready = {seeds[0]: self.network(plan, seeds[0])}
        if len(seeds) > 1 and self.side_by_side(ready[seeds[0]]):
            measured = None
            try:
                for measured in self._in_groups(plan, [seeds], split, rungs, ready):
                    yield measured
            except EvaluationError:
                raise
            except Exception as error:  # whatever keeps a network from being one of several
                if measured is not None:
                    raise
                self._go_one_by_one(error)
            else:
                return
        yield from self._in_groups(plan, [[seed] for seed in seeds], split, rungs, ready)

    def _in_groups(
        self,
        plan: SharingPlan,
        together: Sequence[Sequence[int]],
        split: Split,
        rungs: Sequence[int],
        ready: dict[int, nn.Module],
    ) -> Iterator[list[Measured]]:
        """The measurements of seeds, those of each group trained side by side."""
        started = time.perf_counter()
        for some in together:
            networks = [ready.pop(s) if s in ready else self.network(plan, s) for s in some]
            kept = self.checkpoint(plan, some, keeps_end=self.keeps_ends and split != "test")
            try:
                training = self.training(networks, some, plan.variant)
                for epoch, values in self.values(training, split, rungs, kept):
                    seconds = (time.perf_counter() - started) / len(some)
                    yield [
                        Measured(seed, of_one, seconds, epoch)
                        for seed, of_one in zip(some, values, strict=True)
                    ]
                    started = time.perf_counter()
            except Exception:  # it would fail again; whoever is only interrupted may go on
                kept.remove()
                raise

    def together(
        self, plans: Sequence[SharingPlan], seeds: Sequence[int], split: Split
    ) -> Iterator[dict[int, list[Measured]]]:
        """Those that differ in kernels alone, where networks are small."""
        return measured_together(self, plans, seeds, split)

    def most_together(self) -> int:
        """Several where networks are small."""
        return most_together(self)

    def one_by_one(self) -> None:
        """From now on, seeds are trained one after another."""
        object.__setattr__(self, "_stackable", False)  # learnt on the way, no option

    def _go_one_by_one(self, error: Exception) -> None:
        """Said once; if the network itself is broken, it fails again alone."""
        self.one_by_one()
        warnings.warn(
            f"seeds of backbone {self.backbone!r} are trained one after another: torch.func.vmap "
            f"cannot train several at once ({typed_in_one_line(error, 160)})",
            stacklevel=3,
        )

    def ending(self, deadline: float | None) -> TrainingEvaluator:
        """The same with a deadline."""
        other = copy(self)
        object.__setattr__(other, "_deadline", deadline)
        return other

    def seconds(self, seeds: int) -> float | None:
        """From a few steps of the unshared network."""
        return seconds_of_a_plan(self, seeds)

    def check(self) -> None:
        """The unshared network must be there: on another node its code may be missing."""
        build_backbone(self.backbone, self.arguments)

    def side_by_side(self, network: nn.Module) -> bool:
        """Whether the seeds are trained as one network, which cannot compute in bfloat16."""
        small = worth_stacking(network, self.train_batches.images, self.settings.batch_size)
        return small and self._stackable and self.settings.precision != "bfloat16"

    def values(
        self, training: TrainingRun, split: Split, rungs: Sequence[int], kept: Checkpoint
    ) -> Iterator[tuple[int | None, list[Values]]]:
        """What is measured of each seed at the rungs, with their epochs, and at the end."""

        def right(epoch: Epoch) -> list[Values]:
            found = accuracy(epoch.forward, len(training.seeds), self.held_out[split])
            return [{"accuracy": value} for value in found]

        yield from self._at_rungs(training.run(kept), right, rungs, kept)

    def training(
        self,
        networks: Sequence[nn.Module],
        seeds: Sequence[int],
        variant: Variant = (),
        as_one: TrainedAsOne | None = None,
    ) -> TrainingRun:
        """That of networks side by side. variant: which their plans are for; as_one: what computes
        them, where they are not those of one plan.
        """
        del variant  # all are trained alike
        return TrainingRun(networks, self.train_batches, self.training_settings, seeds, as_one)

    def _at_rungs(
        self,
        training: Iterable[Epoch],
        measure: Callable[[Epoch], list[Values]],
        rungs: Sequence[int],
        kept: Checkpoint,
    ) -> Iterator[tuple[int | None, list[Values]]]:
        for epoch in training:
            if epoch.number == self.settings.epochs:
                try:
                    yield None, measure(epoch)
                finally:
                    kept.taken()
            elif epoch.number in rungs or (epoch.number and is_past(self._deadline)):
                yield epoch.number, measure(epoch)

    def checkpoint(self, plan: SharingPlan, seeds: Sequence[int], *, keeps_end: bool) -> Checkpoint:
        """The file of one training: its name says all that decides what the training gives."""
        if self.checkpoints is None:
            return Checkpoint(None)
        path = self.checkpoints / self.file_name(plan, seeds, self.training_settings)
        return Checkpoint(path, keeps_end=keeps_end)

    def file_name(self, plan: SharingPlan, seeds: Sequence[int], settings: TrainingSettings) -> str:
        """The name of the file of one training; without ``plan`` it is the same for all plans."""
        asked = (self.backbone, dict(self.arguments), self.dataset.fingerprint, asdict(settings))
        return training_file(plan, *asked, list(seeds), self.conditions)

    @property
    def training_settings(self) -> TrainingSettings:
        """How a plan's network is trained."""
        return self.settings

    @property
    def conditions(self) -> dict[str, Any]:
        """What else decides the result, beside network, data, settings and seeds."""
        return {}

    def network(self, plan: SharingPlan, seed: int) -> nn.Module:
        """The network of ``plan`` on the device, as training starts from it."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            backbone = build_backbone(self.backbone, self.arguments, **dict(plan.variant))
            network = apply_plan(backbone, plan, weights="fresh")
        self._check_size(network, backbone, plan)
        return network.to(self.train_batches.images.device)

    def _check_size(self, network: nn.Module, backbone: nn.Module, plan: SharingPlan) -> None:
        """The closed form decides which plans are searched: it must hold for what is trained."""
        expected = plan_parameters(plan, find_sites(backbone), count_parameters(backbone))
        counted = count_parameters(network)
        if counted != expected:
            raise EvaluationError(f"{counted} parameters were built where {expected} were expected")

    def __getstate__(self) -> dict[str, Any]:
        """Images on the device are made again where they are needed."""
        return {key: value for key, value in vars(self).items() if key not in ON_DEVICE}

    @cached_property
    def train_batches(self) -> Batches:
        """The training images on the device."""
        augmentation = self.dataset.augmentation_by(self.settings.augment)
        return normalised(self.dataset.train, self.dataset.train, augmentation)

    @cached_property
    def held_out(self) -> dict[Split, Batches]:
        """The other images on the device, scaled as the training images are."""
        return {
            "validation": normalised(self.dataset.validation, self.dataset.train),
            "test": normalised(self.dataset.test, self.dataset.train),
        }
