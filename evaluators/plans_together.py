"""Measure several plans side by side: where networks are small, and differ in kernels alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import nn

from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.vmap_plans import PlansAsOne, more_than_kernels
from isoshare.space.apply import apply_plan
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan, Split, Variant

if TYPE_CHECKING:
    from isoshare.evaluators.training_evaluator import TrainingEvaluator

MOST = 8
"""Plans side by side: more gain little (benchmarks/side_by_side.py)."""


def most_together(evaluator: TrainingEvaluator) -> int:
    """So many plans are measured together quickest; 1 where it does not pay."""
    trained = evaluator.settings.epochs > 0
    return MOST if trained and evaluator.side_by_side(_backbone(evaluator, ())) else 1


def measured_together(
    evaluator: TrainingEvaluator, plans: Sequence[SharingPlan], seeds: Sequence[int], split: Split
) -> Iterator[dict[int, list[Measured]]]:
    """The measurements of those that can be trained side by side, by their places; of fewer than
    two there are none.

    All see the same images in the same order, as one after another. Nothing is kept on the way:
    such trainings are short. Raises EvaluationError when a loss is no longer a number, whoever's it
    is, and whatever keeps ``torch.func.vmap`` from following a network.
    """
    variant = plans[0].variant
    backbone = _backbone(evaluator, variant)
    places = _joinable(evaluator, plans, seeds, backbone)
    if len(places) < 2:
        return
    networks = {place: [evaluator.network(plans[place], s) for s in seeds] for place in places}
    pairs = list(product(networks, seeds))
    every = [network for some in networks.values() for network in some]
    as_one = PlansAsOne([plans[place] for place, _ in pairs], every, backbone)
    training = evaluator.training(every, [seed for _, seed in pairs], variant, as_one)
    started = time.perf_counter()
    for epoch, values in evaluator.values(training, split, (), Checkpoint(None)):
        if epoch is None and evaluator.keeps_ends:
            as_one.write_back()
            for place, some in networks.items():
                _keep_end(evaluator, plans[place], some, seeds, training.loss)
        seconds = (time.perf_counter() - started) / len(pairs)
        found: dict[int, list[Measured]] = {place: [] for place in networks}
        for (place, seed), of_one in zip(pairs, values, strict=True):
            said = {"plans_together": len(networks)}
            found[place].append(Measured(seed, of_one, seconds, epoch, said))
        yield found
        started = time.perf_counter()


def _joinable(
    evaluator: TrainingEvaluator,
    plans: Sequence[SharingPlan],
    seeds: Sequence[int],
    backbone: nn.Module,
) -> list[int]:
    """The places of those that can be one of several: told by fresh networks, as the evaluator's
    own may take seconds to project, and are made again for plans that are measured alone.
    """
    if not evaluator.side_by_side(backbone):
        return []
    with torch.random.fork_rng():
        return [
            place
            for place, plan in enumerate(plans)
            if plan.variant == plans[0].variant
            and not _has_begun(evaluator, plan, seeds)
            and not more_than_kernels(apply_plan(backbone, plan, weights="fresh"), backbone)
        ]


def _has_begun(evaluator: TrainingEvaluator, plan: SharingPlan, seeds: Sequence[int]) -> bool:
    """Whether it was being trained alone, so that only a call of its own goes on from there."""
    groups = [seeds, *([seed] for seed in seeds)]
    return any(evaluator.checkpoint(plan, some, keeps_end=True).is_there for some in groups)


def _keep_end(
    evaluator: TrainingEvaluator,
    plan: SharingPlan,
    networks: Sequence[nn.Module],
    seeds: Sequence[int],
    loss: float,
) -> None:
    """As if the plan had been trained alone, so that the test images need no training."""
    ended = evaluator.training(networks, seeds, plan.variant)
    ended.epoch, ended.loss = evaluator.settings.epochs, loss
    evaluator.checkpoint(plan, seeds, keeps_end=True).save(ended.end_state())


def _backbone(evaluator: TrainingEvaluator, variant: Variant) -> nn.Module:
    network = build_backbone(evaluator.backbone, evaluator.arguments, **dict(variant))
    return network.to(evaluator.train_batches.images.device)
