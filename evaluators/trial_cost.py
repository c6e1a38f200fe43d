"""How long a plan will take, from a few steps of the unshared networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING

from torch import nn

from isoshare.evaluators.training.pace import FORWARD, seconds_per_example
from isoshare.evaluators.training.trainer import epochs
from isoshare.evaluators.training.vmap_ensemble import fitting_threads
from isoshare.space.plan import SharingPlan, Variant

if TYPE_CHECKING:
    from isoshare.evaluators.training.optimizers import TrainingSettings
    from isoshare.evaluators.training_evaluator import TrainingEvaluator

BATCHES = 4
"""So many are tried out at once."""
TRIED_OUT = 6
"""Of several networks at most."""


def seconds_of_pretraining(
    evaluator: TrainingEvaluator,
    settings: TrainingSettings,
    variants: Sequence[Variant],
    fresh: Callable[[Variant], nn.Module],
) -> float | None:
    """About how long it takes to train the unshared networks of ``variants`` one after another;
    None if it cannot be said. Of many some are tried out, drawn evenly.

    fresh: makes such a network, on the device.
    """
    some = Random(0).sample(variants, min(TRIED_OUT, len(variants)))
    with suppress(Exception):  # the training itself will say what is wrong
        each = fmean(_alone(evaluator, fresh(variant), settings) for variant in some)
        return each * len(evaluator.train_batches.labels) * settings.epochs * len(variants)
    return None


def _alone(evaluator: TrainingEvaluator, network: nn.Module, settings: TrainingSettings) -> float:
    with fitting_threads(network, evaluator.train_batches.images, settings.batch_size):
        return _seconds_per_example(evaluator, [network], settings)


def seconds_of_a_plan(evaluator: TrainingEvaluator, seeds: int) -> float | None:
    """About how long it takes to train and measure so many seeds, side by side where they will be;
    None if it cannot be said.
    """
    settings = evaluator.training_settings
    trained = len(evaluator.train_batches.labels) * settings.epochs
    measured = len(evaluator.held_out["validation"].labels) * FORWARD
    with suppress(Exception):  # the search itself will say what is wrong
        networks = [evaluator.network(SharingPlan(), 0)]
        if evaluator.side_by_side(networks[0]):
            networks += [evaluator.network(SharingPlan(), seed) for seed in range(1, seeds)]
        each = _seconds_per_example(evaluator, networks, settings) / len(networks)
        return each * (trained + measured) * seeds
    return None


def _seconds_per_example(
    evaluator: TrainingEvaluator, networks: Sequence[nn.Module], settings: TrainingSettings
) -> float:
    """What a training image takes all networks, side by side."""
    data = evaluator.train_batches
    most = min(settings.batch_size, len(data.labels))

    def step(count: int) -> None:
        some = replace(data, images=data.images[:count], labels=data.labels[:count])
        once = replace(settings, epochs=1, batch_size=min(count, most), compile=False)
        for _ in epochs(networks, some, once, range(len(networks))):
            pass

    return seconds_per_example(step, most, min(BATCHES, len(data.labels) // most))
