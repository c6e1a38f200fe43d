"""How long a plan will take, from a few steps of the unshared network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from isoshare.evaluators.training.pace import FORWARD, seconds_per_example
from isoshare.evaluators.training.trainer import epochs
from isoshare.space.plan import SharingPlan

if TYPE_CHECKING:
    from isoshare.evaluators.training_evaluator import TrainingEvaluator

BATCHES = 4
"""So many are tried out at once."""


def seconds_of_a_plan(evaluator: TrainingEvaluator, seeds: int) -> float | None:
    """About how long it takes to train and measure so many seeds, side by side where they will be;
    None if it cannot be said.
    """
    data, settings = evaluator.train_batches, evaluator.training_settings
    trained = len(data.labels) * settings.epochs
    measured = len(evaluator.held_out["validation"].labels) * FORWARD

    most = min(settings.batch_size, len(data.labels))

    def step(count: int) -> None:
        some = replace(data, images=data.images[:count], labels=data.labels[:count])
        once = replace(settings, epochs=1, batch_size=min(count, most), compile=False)
        for _ in epochs(networks, some, once, range(len(networks))):
            pass

    with suppress(Exception):  # the search itself will say what is wrong
        networks = [evaluator.network(SharingPlan(), 0)]
        if evaluator.side_by_side(networks[0]):
            networks += [evaluator.network(SharingPlan(), seed) for seed in range(1, seeds)]
        batches = min(BATCHES, len(data.labels) // most)
        each = seconds_per_example(step, most, batches) / len(networks)
        return each * (trained + measured) * seeds
    return None
