"""What sharing is expected to cost a trained network, measured on images of a data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.evaluators.sensitivities.output_matching import BATCH, IMAGES
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.sensitivities.sensitivity import (
    Heard,
    Moves,
    score_sharing,
    tied_pairs,
)
from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.vmap_ensemble import outputs_of
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace

LOSS_WORK = 1.25e12
"""Multiply-accumulates up to which the loss of tied pairs is measured, some minute of one core:
enough for a ResNet-20. A rule, not a timing, so that it repeats."""


def scores_on(
    data: Batches,
    network: nn.Module,
    space: SearchSpace,
    heard: Heard | None = None,
    known: Moves | None = None,
) -> PlanScores:
    """On the first training images. heard, known: as in ``score_sharing``.

    Raises IsoshareError for layers that cannot be scored.
    """
    with_loss = _loss_work(data, network, space) <= LOSS_WORK
    batches = data.first(IMAGES, BATCH)
    network = network.to(data.images.device)
    loss = _loss if with_loss else None
    return score_sharing(network, space, batches, loss=loss, heard=heard, known=known)


def _loss(outputs: Any, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs_of(outputs)[0], labels)


def _loss_work(data: Batches, network: nn.Module, space: SearchSpace) -> float:
    """Multiply-accumulates that the loss of all pairs takes."""
    image = torch.zeros(1, *data.images.shape[1:])
    costs = space.costs if space.has_costs else network_costs(network, space.sites, image)
    counted = SearchSpace(space.sites, space.unshared, space.methods, costs=costs)
    return len(tied_pairs(space)) * IMAGES * counted.macs(SharingPlan())
