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
LEAST_GAIN = 1e-6
"""In correlation, a channel: for less none is moved."""


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
        self._banks: dict[str, Sequence[str]] = {
            name: bank.sites for bank in plan.banks for name in bank.sites
        }

    def improve(self, channels: HiddenChannels, later: Sequence[HiddenChannels] = ()) -> bool:
        """Renumber some channels, all others as they are; whether that was any better.

        later: whose kernels do not count yet, as they come first in an order of their own.
        """
        moving = {name for one in (channels, *later) for name, _ in one.members}
        tied = [
            _Tied(self._kernel(name), aim, role, self.found.inputs.get(name))
            for name, role in channels.members
            if (aim := self._aim(name, moving)) is not None
        ]
        if not tied:
            return False
        best, order = float(sum(one.agreement() for one in tied)) + LEAST_GAIN, None
        for plainly in (False, True):
            found = _assigned(torch.stack([one.gain(plainly) for one in tied]).sum(0))
            reached = float(sum(one.renumbered(found).agreement() for one in tied))
            if reached > best:
                best, order = reached, found
        if order is not None:
            self._renumber(channels, order)
        return order is not None

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


class _Tied:
    """A site, and what its kernel shall agree with."""

    def __init__(
        self, kernel: Tensor, aim: Tensor, role: Role, known: SiteStatistics | None
    ) -> None:
        self._kernel, self._aim, self._role, self._known = kernel, aim, role, known
        self._groups = len(kernel) if role == "carries" else 1
        unknown = torch.eye(kernel[0].numel()).expand(self._groups, -1, -1)
        self._covariance = (unknown if known is None else known.covariance).to(kernel)

    def renumbered(self, order: Tensor) -> _Tied:
        """The same with other channels, beside what it shall agree with as it is."""
        known = self._known and self._known.renumbered(self._role, order)
        return _Tied(renumbered(self._kernel, self._role, order), self._aim, self._role, known)

    def agreement(self) -> Tensor:
        """How well outputs correlate, the mean over channels."""
        kernel, aim = self._scaled(self._kernel), self._scaled(self._aim)
        return (kernel @ self._covariance * aim).sum(-1).mean()

    def gain(self, plainly: bool) -> Tensor:
        """What an agreement has of channel i of the kernel where the other has channel j, (i, j):
        all of it, but that the scale of outputs changes too, if it is columns that move.

        plainly: of kernels alone, as if inputs were not correlated: then scales do not change.
        """
        if plainly:
            kernel, aim = self._kernel / self._kernel.norm(), self._aim / self._aim.norm()
        else:
            rows, aim = self._scaled(self._kernel), self._scaled(self._aim).view_as(self._aim)
            kernel = (rows @ self._covariance).view_as(self._kernel) / len(aim)
        if self._role == "reads":
            kernel, aim = kernel.transpose(0, 1), aim.transpose(0, 1)
        gain: Tensor = kernel.flatten(1) @ aim.flatten(1).T
        return gain

    def _scaled(self, kernel: Tensor) -> Tensor:
        """Rows by group that give outputs of variance 1, (groups, out/groups, fan-in)."""
        rows = kernel.reshape(self._groups, len(kernel) // self._groups, -1)
        variance = (rows @ self._covariance * rows).sum(-1, keepdim=True)
        return rows / variance.clamp_min(TINY).sqrt()


def _assigned(gain: Tensor) -> Tensor:
    """The order of channels that has the largest sum of gains."""
    rows, places = linear_sum_assignment(gain.cpu().numpy(), maximize=True)
    order: Tensor = torch.as_tensor(rows[places.argsort()])
    return order
