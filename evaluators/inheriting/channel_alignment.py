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

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics
from isoshare.evaluators.training.vmap_ensemble import outputs_of
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
TINY = 1e-12
LEAST_GAIN = 1e-5
"""In correlation, the sum over sites: for less no channel is moved."""


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
    both = trained.network, order.found.network
    wanted, found = (torch.stack(outputs_of(network(images))) for network in both)
    is_same = bool((wanted - found).abs().max() <= ROUNDING * wanted.abs().max())
    return order.found if is_same else trained


class _Order:
    """found: the network in the best order so far."""

    def __init__(self, trained: TrainedNetwork, plan: SharingPlan) -> None:
        network = copy_network(trained.network).eval()
        self.found = TrainedNetwork(network, dict(trained.importance), dict(trained.inputs))
        self._banks = {name: bank.sites for bank in plan.banks for name in bank.sites}
        self._settled: set[HiddenChannels] = set()

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
            _Tied(self._kernel(name), aim, role, self.found.inputs.get(name))
            for name, role in channels.members
            if (aim := self._aim(name, moving)) is not None
        ]
        best = _best(tied) if tied else None
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
        kernel: Tensor = self.found.network.get_parameter(f"{name}.weight").detach()
        return kernel

    def _renumber(self, channels: HiddenChannels, order: Tensor) -> None:
        channels.renumber(self.found.network, order)
        importance, inputs = dict(self.found.importance), dict(self.found.inputs)
        for name, role in channels.members:
            if name in importance:
                importance[name] = renumbered(importance[name], role, order)
            if name in inputs:
                inputs[name] = inputs[name].renumbered(role, order)
        self.found.importance, self.found.inputs = importance, inputs
        changed = {tied for name, _ in channels.members for tied in self._banks.get(name, ())}
        self._settled = {
            one
            for one in self._settled
            if one == channels or changed.isdisjoint(name for name, _ in one.members)
        }


class _Tied:
    """A site, and what its kernel shall agree with.

    correlations: what the outputs' correlation, the mean over channels, has of channel i of the
    kernel in place j, (i, j). Where columns move, the variances of outputs do too, and are not
    known before: there they are as they were.
    """

    def __init__(
        self, kernel: Tensor, aim: Tensor, role: Role, known: SiteStatistics | None
    ) -> None:
        self._kernel, self._aim, self._role = kernel, aim, role
        self._groups = len(kernel) if role == "carries" else 1
        self._covariance = None if known is None else known.covariance.to(kernel)
        rows, products = self._products(kernel)
        self._scaled = products / _deviation(rows, products)
        self.correlations = self._correlations()

    def agreement(self, order: Tensor) -> float:
        """The correlation of outputs with channels in ``order``, the mean over channels."""
        if self._role != "reads":
            return float(self.correlations[order, torch.arange(len(order))].sum())
        rows, products = self._products(self._aim[:, order.argsort()])
        return float((self._scaled * rows / _deviation(rows, products)).sum() / len(self._aim))

    def likeness(self) -> Tensor:
        """What the kernels' own correlation has of each channel in each place: as if inputs were
        uncorrelated, and so exact for columns too.
        """
        kernels = self._kernel / self._kernel.norm(), self._aim / self._aim.norm()
        return self._by_channel(*kernels)

    def _correlations(self) -> Tensor:
        rows, products = self._products(self._aim)
        scaled = self._scaled.view_as(self._aim) / len(self._aim)
        if self._role != "carries" or self._covariance is None:
            return self._by_channel(scaled, (rows / _deviation(rows, products)).view_as(self._aim))
        aims = self._aim.flatten(1)  # each under the inputs of the channel that it would get
        variances = torch.einsum("jp,ipq,jq->ij", aims, self._covariance, aims)
        return self._by_channel(scaled, self._aim) / variances.clamp_min(TINY).sqrt()

    def _by_channel(self, one: Tensor, other: Tensor) -> Tensor:
        """The products of two kernels, channel by channel, (i, j)."""
        if self._role == "reads":
            one, other = one.transpose(0, 1), other.transpose(0, 1)
        products: Tensor = one.flatten(1) @ other.flatten(1).T
        return products

    def _products(self, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Rows by group, (groups, out/groups, fan-in), and these times the covariance."""
        rows = kernel.reshape(self._groups, len(kernel) // self._groups, -1)
        return rows, rows if self._covariance is None else rows @ self._covariance


def _deviation(rows: Tensor, products: Tensor) -> Tensor:
    """Of the output of each row, (groups, out/groups, 1)."""
    return (rows * products).sum(-1, keepdim=True).clamp_min(TINY).sqrt()


def _best(tied: Sequence[_Tied]) -> Tensor | None:
    """The order in which all outputs agree best; None if no other is better than that there is."""
    gains = [
        torch.stack([one.correlations for one in tied]).sum(0),
        torch.stack([one.likeness() for one in tied]).sum(0),
    ]
    orders = [_assigned(gain) for gain in gains]
    reached = [sum(one.agreement(order) for one in tied) for order in orders]
    best = 0 if reached[0] >= reached[1] else 1
    return orders[best] if reached[best] > float(gains[0].trace()) + LEAST_GAIN else None


def _assigned(gain: Tensor) -> Tensor:
    """The order of channels that has the largest sum of gains."""
    rows, places = linear_sum_assignment(gain.cpu().numpy(), maximize=True)
    order: Tensor = torch.as_tensor(rows[places.argsort()])
    return order
