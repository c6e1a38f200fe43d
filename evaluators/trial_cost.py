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


def seconds_of_a_plan(evaluator: TrainingEvaluator, seeds: int) -> float | None:
    """About how long it takes to train and measure so many seeds; None if it cannot be said."""
    data, settings = evaluator.train_batches, evaluator.training_settings
    trained = len(data.labels) * settings.epochs
    measured = len(evaluator.held_out["validation"].labels) * FORWARD

    def step(count: int) -> None:
        some = replace(data, images=data.images[:count], labels=data.labels[:count])
        once = replace(settings, epochs=1, batch_size=count, compile=False)
        for _ in epochs([network], some, once, [0]):
            pass

    with suppress(Exception):  # the search itself will say what is wrong
        network = evaluator.network(SharingPlan(), 0)
        most = min(settings.batch_size, len(data.labels))
        return seconds_per_example(step, most) * (trained + measured) * seeds
    return None
