"""Measure a plan: build its network, train it for a few epochs, count what it gets right.

``Evaluator`` is what a driver ships to its workers. It takes and returns plain values, so that
it can run in any process and be replaced by a fake in tests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import nn

from evaluators.datasets import Dataset
from evaluators.training import (
    Batches,
    EvaluationError,
    TrainingSettings,
    accuracy,
    normalised,
    train,
    worth_stacking,
)
from space.apply import apply_plan, count_parameters, plan_parameters
from space.backbones import Argument, build_backbone
from space.plan import SharingPlan
from space.sites import find_sites

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Measured:
    """What one training of one plan gave: the measured objectives and the seconds it took."""

    seed: int
    values: dict[str, float]
    seconds: float


class Measure(Protocol):
    """What a driver needs of an evaluator."""

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split
    ) -> Iterator[list[Measured]]:
        """Measure ``plan`` once for each seed; yields what is ready, as soon as it is.

        Raises EvaluationError, or whatever the user's network raises.
        """


@dataclass(frozen=True)
class Evaluator:
    """Short training from scratch, on the training images only."""

    backbone: str
    arguments: Mapping[str, Argument]
    dataset: Dataset
    settings: TrainingSettings

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split
    ) -> Iterator[list[Measured]]:
        """Train on the training images, once for each seed, and measure on ``split``.

        All plans get the same seeds: initial weights and the order of the images are common random
        numbers, so that plans differ by their sharing and not by their luck.
        """
        images = self._train.images
        first = self._network(plan, seeds[0])
        if worth_stacking(first, images, self.settings.batch_size):
            yield self._measure(plan, seeds, split)
        else:
            for seed in seeds:
                yield self._measure(plan, [seed], split)

    def _measure(self, plan: SharingPlan, seeds: Sequence[int], split: Split) -> list[Measured]:
        started = time.perf_counter()
        networks = [self._network(plan, seed) for seed in seeds]
        forward = train(networks, self._train, self.settings, seeds)
        values = accuracy(forward, len(seeds), self._held_out[split])
        seconds = (time.perf_counter() - started) / len(seeds)
        return [
            Measured(seed, {"accuracy": value}, seconds)
            for seed, value in zip(seeds, values, strict=True)
        ]

    def _network(self, plan: SharingPlan, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            backbone = build_backbone(self.backbone, self.arguments)
            network = apply_plan(backbone, plan)
        # The closed form decides which plans are searched: it must hold for what is trained.
        expected = plan_parameters(plan, find_sites(backbone), count_parameters(backbone))
        counted = count_parameters(network)
        if counted != expected:
            raise EvaluationError(f"{counted} parameters were built where {expected} were expected")
        return network.to(self._train.images.device)

    @cached_property
    def _train(self) -> Batches:
        return normalised(self.dataset.train, self.dataset.train)

    @cached_property
    def _held_out(self) -> dict[Split, Batches]:
        return {
            "validation": normalised(self.dataset.validation, self.dataset.train),
            "test": normalised(self.dataset.test, self.dataset.train),
        }
