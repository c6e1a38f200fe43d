"""What the sites of a trained network are given: the covariance of their inputs on a few images.

With it follows how far the output of a site moves if its kernel does, without running the network
again: for a change D of one out-channel's kernel the mean square is D C Dᵀ. A batch normalisation
behind the site takes mean and scale of each channel away, so what counts is their correlation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.layers import groups_of
from isoshare.space.passes.hidden_channels import Role
from isoshare.space.sites import Site

POSITIONS = 16
"""Of an output, that are looked at in each image: neighbours see almost the same."""
LARGEST_SCALE = 1e3
"""By which a kernel is multiplied to give outputs the variance that they had."""


@dataclass(frozen=True)
class SiteStatistics:
    """covariance: of what one output position is computed from, (groups, fan-in, fan-in), double;
    mean: of the same, (groups, fan-in). was_called: whether there was any input at all.
    """

    covariance: Tensor
    mean: Tensor
    was_called: bool = True

    def variance(self, kernel: Tensor) -> Tensor:
        """Of each out-channel under ``kernel`` (out, in/groups, ...), (out,)."""
        rows = self.rows(kernel)
        return ((rows @ self.covariance) * rows).sum(-1).flatten()

    def error(self, wanted: Tensor, found: Tensor) -> float:
        """How far the output moves if kernel ``wanted`` becomes ``found``: see ``KnownOutput``."""
        return KnownOutput(self, wanted).error(found)

    def as_before(self, wanted: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """``found`` with the scale of each channel's output that it has under ``wanted``, and what
        is to be added to each so that it has the mean, (out,).
        """
        least = torch.finfo(torch.double).tiny
        scale = (self.variance(wanted) / self.variance(found).clamp_min(least)).sqrt()
        scale = scale.clamp_max(LARGEST_SCALE).to(found).view(-1, *[1] * (found.dim() - 1))
        scaled = found * scale
        return scaled, (self._level(wanted) - self._level(scaled)).to(found)

    def _level(self, kernel: Tensor) -> Tensor:
        """The mean of each channel's output, without its bias, (out,)."""
        return (self.rows(kernel) @ self.mean[:, :, None]).flatten()

    def renumbered(self, role: Role, order: Tensor) -> SiteStatistics:
        """The same of a site whose channels stand in ``order`` now."""
        covariance, mean = self.covariance, self.mean
        if role == "carries":
            covariance, mean = covariance[order], mean[order]
        elif role == "reads":  # groups: one
            each = covariance.shape[-1] // len(order)
            index = (order[:, None] * each + torch.arange(each)).flatten()
            covariance, mean = covariance[:, index][:, :, index], mean[:, index]
        return SiteStatistics(covariance, mean, self.was_called)

    def rows(self, kernel: Tensor) -> Tensor:
        """(groups, out/groups, fan-in), double."""
        groups = len(self.covariance)
        return kernel.double().reshape(groups, len(kernel) // groups, -1)


class KnownOutput:
    """The output of a site under one kernel, beside which that under others is held."""

    def __init__(self, statistics: SiteStatistics, kernel: Tensor) -> None:
        self._statistics = statistics
        self._product = statistics.rows(kernel) @ statistics.covariance
        self._variance = (self._product * statistics.rows(kernel)).sum(-1).flatten()

    def correlation(self, other: Tensor) -> Tensor:
        """With the output under another kernel, channel by channel, (out,) from -1 to 1.

        1 where both are constant, 0 where only one is.
        """
        variances = self._variance, self._statistics.variance(other)
        least = 1e-12 * max(float(variances[0].max()), 1e-30)
        still = [variance <= least for variance in variances]
        product = (self._product * self._statistics.rows(other)).sum(-1).flatten()
        product = product / (variances[0] * variances[1]).sqrt()
        product = torch.where(still[0] | still[1], (still[0] & still[1]).double(), product)
        return product.clamp(-1, 1)

    def error(self, other: Tensor) -> float:
        """How far it moves if the site has another kernel, without mean and scale.

        In units of the output's own standard deviation, the mean over channels: from 0 to 2.
        """
        return float((2 - 2 * self.correlation(other)).sqrt().mean())


@torch.no_grad()
def site_statistics(
    network: nn.Module, sites: Sequence[Site], batches: Iterable[tuple[Any, Any]]
) -> dict[str, SiteStatistics]:
    """Of each site, over all ``batches`` of inputs and targets, in evaluation mode.

    The order of the batches does not matter, beyond rounding.
    """
    network.eval()
    sums = {site.name: _Sums(network.get_submodule(site.name)) for site in sites}
    try:
        for inputs, _ in batches:
            network(inputs)
    finally:
        for one in sums.values():
            one.hook.remove()
    return {name: one.statistics() for name, one in sums.items()}


class _Sums:
    """What is summed up of the inputs of one site while batches run."""

    def __init__(self, site: Any) -> None:
        self.rows, groups = 0, groups_of(site)
        fan_in = site.weight[0].numel()
        new = partial(torch.zeros, dtype=torch.double, device=site.weight.device)
        self.total, self.squares = new(groups, fan_in), new(groups, fan_in, fan_in)
        self.hook = site.register_forward_hook(self._see)

    def _see(self, site: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        rows = patches(site, inputs[0].detach()).transpose(0, 1)  # (groups, rows, fan-in)
        # Single precision within a batch takes half the time; sums over batches are double.
        self.total += rows.sum(1, dtype=torch.double)
        self.squares += rows.mT @ rows
        self.rows += rows.shape[1]

    def statistics(self) -> SiteStatistics:
        """Covariance and mean over all rows."""
        mean, covariance = self.total / max(1, self.rows), self.squares / max(1, self.rows)
        covariance = covariance - mean[..., :, None] * mean[..., None, :]
        return SiteStatistics(covariance, mean, self.rows > 0)


def patches(conv: Any, images: Tensor) -> Tensor:
    """What some output positions of a layer are computed from, (rows, groups, fan-in).

    images: its input (batch, channels, ...), or (batch, ..., features) of a linear layer.
        The same positions of each image, evenly spread.
    """
    if isinstance(conv, nn.Linear):
        rows = images.flatten(1, -2) if images.dim() > 2 else images[:, None]
        return rows[:, _spread(rows.shape[1])].flatten(0, 1)[:, None]
    x, dimensions = windows(conv, images), len(conv.kernel_size)
    positions = x.shape[2 : 2 + dimensions]
    count = positions.numel()
    index = torch.unravel_index(_spread(count), positions)
    every: Any = slice(None)
    some = x[(every, every, *index)]  # (batch, channels, positions, kernel...)
    return some.transpose(1, 2).reshape(-1, conv.groups, some[0, :, 0].numel() // conv.groups)


def windows(conv: Any, images: Tensor) -> Tensor:
    """What each output position of a convolution is computed from, a view of the padded images,
    (batch, channels, positions..., kernel...).
    """
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = functional.pad(images, conv._reversed_padding_repeated_twice, mode)
    for place, (size, dilation) in enumerate(zip(conv.kernel_size, conv.dilation, strict=True)):
        x = x.unfold(2 + place, dilation * (size - 1) + 1, conv.stride[place])[..., ::dilation]
    return x


def _spread(count: int) -> Tensor:
    """``POSITIONS`` of ``count`` places, or all, evenly spread."""
    return torch.linspace(0, count - 1, min(count, POSITIONS)).round().long()
