"""Inherit in Python: one's own trained network, shared by a plan, on one's own batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from isoshare.space.errors import IsoshareError
from isoshare.space.plan import SharingPlan

if TYPE_CHECKING:
    from torch import nn

ENOUGH = "some five hundred inputs of the training"
MOST = 2_048
"""Inputs that are looked at: more say little, and a whole data set would not fit into memory."""


def inherit_weights(
    model: nn.Module, plan: SharingPlan, batches: Iterable[tuple[Any, Any]]
) -> nn.Module:
    """A copy of a trained ``model`` that shares by ``plan`` and keeps what it can of what the model
    computes: where to start fine-tuning.

    More of it is kept than by ``apply_plan(model, plan, weights="inherit")``, which sees no data:
    hidden channels are renumbered first, so that kernels to be tied agree; then what is shared is
    moved until the outputs of its layers are close to those of the model; batch normalisation is
    estimated again. ``model`` stays as it was.

    batches: pairs of inputs and targets, as in training; targets are not looked at. Some five
    hundred inputs are enough, in batches of several; of a whole data loader the first 2,048 count.

    Raises PlanError as ``apply_plan`` does, IsoshareError for batches that the model cannot take,
    or of which there are none, and for a model of half precision.
    """
    from isoshare.evaluators.inheriting.channel_alignment import TrainedNetwork, aligned
    from isoshare.evaluators.inheriting.weight_projection import estimate_normalisation, inherit
    from isoshare.evaluators.own_code.own_batches import checked_batches
    from isoshare.evaluators.sensitivities.output_matching import input_statistics, match_outputs
    from isoshare.space.apply import apply_plan
    from isoshare.space.network_copy import copy_network

    fresh = apply_plan(model, plan, weights="fresh")  # before anything runs: does the plan fit?
    if not plan.banks:
        return fresh
    kept = list(_first(checked_batches(model, batches, ENOUGH)))
    source = copy_network(model).eval()
    known = TrainedNetwork(source, {}, input_statistics(source, kept))
    known = aligned(known, plan, kept[0][0])
    shared, _ = inherit(known.network, plan)
    match_outputs(shared, known.network, plan, known.inputs)
    try:
        estimate_normalisation(shared, (inputs for inputs, _ in kept))
    except ValueError as error:  # torch: more than one value per channel
        raise IsoshareError(
            f"batch normalisation needs batches of several inputs: {error}"
        ) from error
    return shared.train(model.training)


def _first(batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """As many batches as hold ``MOST`` inputs."""
    seen = 0
    for inputs, targets in batches:
        yield inputs, targets
        seen += len(inputs)
        if seen >= MOST:
            return
