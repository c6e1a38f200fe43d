"""Which pairs of sites a trained network minds to have tied, by the loss that this adds.

How far outputs move says how pairs, methods and sizes of banks compare; what follows from that in
the network behind, it does not say. So the kernels of each pair are tied in turn, with mean and
scale of each output channel kept as a normalisation would, and the loss is taken again: in
evaluation mode, so neither order nor size of batches matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from isoshare.evaluators.sensitivities.bank_projection import BankProjection
from isoshare.evaluators.sensitivities.plan_scores import NOTHING
from isoshare.space.sites import Site

TRUST = 0.25
"""The power of the loss in a pair's weight: fine-tuning mends damage unevenly, so that the loss by
itself orders plans worse (docs/decisions.md)."""
LEAST = 0.05
"""Of the mean over all pairs: a pair that adds less loss, or takes some away, counts as much."""
Loss = Callable[[Any, Any], Tensor]
"""What the network returns and the targets of a batch to a mean over its images."""
Batches = Sequence[tuple[Any, Any]]


def pair_weights(
    projection: BankProjection,
    pairs: Sequence[tuple[Site, Site]],
    batches: Batches,
    loss: Loss,
    told: Callable[[int], None],
) -> dict[tuple[str, str], float]:
    """What each pair counts, 1 on average: by how much more loss it adds than its outputs move.

    told: hears how many pairs are done. Empty where tying does no harm on average, so that nothing
    can be told.
    """
    moved, added = [], []
    before = _loss_of(projection, (), (), batches, loss)
    for done, pair in enumerate(pairs):
        told(done)
        kernels = projection.kernels(pair, "kernel", {})
        moved.append(sum(projection.errors(pair, kernels).values()))
        added.append(_loss_of(projection, pair, kernels, batches, loss) - before)
    if not pairs or not (mean := sum(added) / len(added)) > 0:
        return {}
    weights = [
        (max(more, LEAST * mean) / far) ** TRUST if far > NOTHING else None
        for far, more in zip(moved, added, strict=True)
    ]
    known = [weight for weight in weights if weight is not None]
    usual = sum(known) / max(1, len(known))
    return {
        (one.name, other.name): 1.0 if weight is None else weight / usual
        for (one, other), weight in zip(pairs, weights, strict=True)
    }


@torch.no_grad()
def _loss_of(
    projection: BankProjection,
    sites: Sequence[Site],
    kernels: Sequence[Tensor],
    batches: Batches,
    loss: Loss,
) -> float:
    """The mean over all images of the network in which these sites have these kernels."""
    network, weights, hooks = projection.network.eval(), {}, []
    for site, kernel in zip(sites, kernels, strict=True):
        known = projection.statistics[site.name]
        kept, shift = known.as_before(projection.kernel(site), kernel)
        weights[f"{site.name}.weight"] = kept
        part = network.get_submodule(site.name)
        hooks.append(part.register_forward_hook(_adding(shift, kernel.dim() - 2)))
    total, count = 0.0, 0
    try:
        for inputs, targets in batches:
            outputs = functional_call(network, weights, (inputs,))
            total += float(loss(outputs, targets)) * len(targets)
            count += len(targets)
    finally:
        for hook in hooks:
            hook.remove()
    return total / max(1, count)


def _adding(shift: Tensor, dimensions: int) -> Callable[[Any, Any, Tensor], Tensor]:
    """A hook that adds to each channel; ``dimensions`` lie behind it."""
    each = shift.view(-1, *[1] * dimensions)
    return lambda _site, _inputs, output: output + each
