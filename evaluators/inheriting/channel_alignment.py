"""Renumber the hidden channels of a trained network so that kernels to be tied agree.

In which order a trained network has the channels within a block is chance: two blocks may compute
alike and have kernels that are nothing alike. So the channels of each block are matched with what
the other sites of their banks have, one block after the other, by linear assignment (Ainsworth et
al. 2022, arXiv 2209.04836): as outputs correlate best, through the covariance of the inputs of each
site, which is what output_matching.py goes on from. The network computes what it did before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from isoshare.evaluators.inheriting.output_agreement import (
    TINY,
    Inputs,
    Tied,
    best_order,
    slope,
)
from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics
from isoshare.space.network_copy import copy_network
from isoshare.space.passes.hidden_channels import (
    HiddenChannels,
    Role,
    hidden_channels,
    renumbered,
)
from isoshare.space.plan import SharingPlan

ROUNDS = 8
"""Over all blocks, if they do not settle before."""
ROUNDING = 1e-3
"""Of the largest output: farther apart, two networks are not the same."""


@dataclass
class TrainedNetwork:
    """A trained network and what was measured of it, all by site.

    importance: as ``fisher`` returns it; inputs: as ``input_statistics`` does.
    """

    network: nn.Module
    importance: Mapping[str, Tensor]
    inputs: Mapping[str, SiteStatistics]


@torch.no_grad()
def aligned(trained: TrainedNetwork, plan: SharingPlan, images: Tensor) -> TrainedNetwork:
    """The same network with hidden channels in the order that suits ``plan``, and what is known of
    it in this order; ``trained`` stays as it was.

    images: on which both must agree, some are enough. Where they do not, or where nothing may be
    renumbered, ``trained`` itself is returned.
    """
    channels = hidden_channels(trained.network)
    if not channels:
        return trained
    order = _Order(trained, plan)
    for place, one in enumerate(channels):
        order.improve(one, channels[place + 1 :])
    for _ in range(ROUNDS):
        if not sum([order.improve(one) for one in channels]):
            break
    outputs = [_outputs(network(images)) for network in (trained.network, order.network)]
    is_same = all(
        bool((wanted - found).abs().max() <= ROUNDING * wanted.abs().max())
        for wanted, found in zip(*outputs, strict=True)
    )
    return order.applied_to(trained) if outputs[0] and is_same else trained


def _outputs(found: Any) -> list[Tensor]:
    """The tensors in whatever a network returns that could tell two networks apart."""
    leaves = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point() and leaf.numel()]


class _Order:
    """network: in the best order so far."""

    def __init__(self, trained: TrainedNetwork, plan: SharingPlan) -> None:
        self.network = copy_network(trained.network).eval()
        self._banks = {name: bank.sites for bank in plan.banks for name in bank.sites}
        self._inputs = {
            name: Inputs(one, self._kernel(name))
            for name, one in trained.inputs.items()
            if name in self._banks
        }
        self._orders: dict[tuple[str, Role], Tensor] = {}
        self._slopes: dict[str, Tensor] = {}
        self._settled: set[HiddenChannels] = set()

    def applied_to(self, trained: TrainedNetwork) -> TrainedNetwork:
        """What is known of the network, in its order now."""
        importance, inputs = dict(trained.importance), dict(trained.inputs)
        for (name, role), order in self._orders.items():
            if name in importance:
                importance[name] = renumbered(importance[name], role, order)
            if name in inputs:
                inputs[name] = inputs[name].renumbered(role, order)
        return TrainedNetwork(self.network, importance, inputs)

    def improve(self, channels: HiddenChannels, later: Sequence[HiddenChannels] = ()) -> bool:
        """Renumber some channels, all others as they are; whether that was any better.

        later: whose kernels do not count yet, as they come first in an order of their own.
        """
        if channels in self._settled:
            return False
        if not later:
            self._settled.add(channels)
        moving = {name for one in (channels, *later) for name, _ in one.members}
        tied = [
            Tied(self._kernel(name), self._slope(name), aim, role, self._inputs.get(name))
            for name, role in channels.members
            if (aim := self._aim(name, moving)) is not None
        ]
        best = best_order(tied) if tied else None
        if best is not None:
            self._renumber(channels, best)
        return best is not None

    def _aim(self, name: str, moving: Collection[str]) -> Tensor | None:
        """What the kernel of a site shall agree with: the mean of those of its shape that it is
        tied to.
        """
        others = [self._kernel(one) for one in self._banks.get(name, ()) if one not in moving]
        alike = [one for one in others if one.shape == self._kernel(name).shape]
        scaled = [kernel / kernel.norm().clamp_min(TINY) for kernel in alike]
        return torch.stack(scaled).mean(0) if scaled else None

    def _kernel(self, name: str) -> Tensor:
        kernel: Tensor = self.network.get_parameter(f"{name}.weight").detach()
        return kernel

    def _slope(self, name: str) -> Tensor:
        if name not in self._slopes:
            self._slopes[name] = slope(self._kernel(name), self._inputs.get(name))
        return self._slopes[name]

    def _renumber(self, channels: HiddenChannels, order: Tensor) -> None:
        channels.renumber(self.network, order)
        for name, role in channels.members:
            before = self._orders.get((name, role))
            self._orders[name, role] = order if before is None else before[order]
            if name in self._slopes:
                self._slopes[name] = renumbered(self._slopes[name], role, order)
            if name in self._inputs:
                self._inputs[name].renumber(role, order)
        changed = {tied for name, _ in channels.members for tied in self._banks.get(name, ())}
        self._settled = {
            one
            for one in self._settled
            if one == channels or changed.isdisjoint(name for name, _ in one.members)
        }
