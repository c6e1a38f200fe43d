"""What the sites of a trained network are given: the covariance of their inputs on a few images.

With it follows how far the output of a site moves if its kernel does, without running the network
again: for a change D of one out-channel's kernel the mean square is D C Dᵀ. A batch normalisation
behind the site takes mean and scale of each channel away, so what counts is their correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.layers import groups_of
from isoshare.space.sites import Site

POSITIONS = 16
"""Of an output, that are looked at in each image: neighbours see almost the same."""

Loss = Callable[[Any, Any], Tensor]
"""What the network returns and the targets of a batch to a mean over its images."""


@dataclass(frozen=True)
class SiteStatistics:
    """covariance: of what one output position is computed from, (groups, fan-in, fan-in), double.
    steepness: for each out-channel the mean over images of the squared gradients of the loss,
    summed over positions, (out,); None where no loss was given. was_called: whether there was any
    input at all.
    """

    covariance: Tensor
    steepness: Tensor | None = None
    was_called: bool = True

    def variance(self, kernel: Tensor) -> Tensor:
        """Of each out-channel under ``kernel`` (out, in/groups, ...), (out,)."""
        return self._product(kernel, kernel)

    def correlation(self, one: Tensor, other: Tensor) -> Tensor:
        """Of the outputs under two kernels, channel by channel, (out,) from -1 to 1.

        1 where both are constant, 0 where only one is.
        """
        variances = self.variance(one), self.variance(other)
        least = 1e-12 * max(float(variances[0].max()), 1e-30)
        still = [variance <= least for variance in variances]
        product = self._product(one, other) / (variances[0] * variances[1]).sqrt()
        product = torch.where(still[0] | still[1], (still[0] & still[1]).double(), product)
        return product.clamp(-1, 1)

    def error(self, wanted: Tensor, found: Tensor) -> float:
        """How far the output moves if kernel ``wanted`` becomes ``found``, without mean and scale.

        In units of the output's own variance, the mean over channels: from 0 to 4. With a
        steepness it is the loss that this costs by its second-order expansion, summed.
        """
        moved = 2 - 2 * self.correlation(wanted, found)
        if self.steepness is None:
            return float(moved.mean())
        return float((self.steepness * self.variance(wanted) * moved).sum() / 2)

    def _product(self, one: Tensor, other: Tensor) -> Tensor:
        groups = len(self.covariance)
        rows, columns = (k.double().reshape(groups, len(k) // groups, -1) for k in (one, other))
        return ((rows @ self.covariance) * columns).sum(-1).flatten()


def site_statistics(
    network: nn.Module,
    sites: Sequence[Site],
    batches: Iterable[tuple[Any, Any]],
    loss: Loss | None = None,
) -> dict[str, SiteStatistics]:
    """Of each site, over all ``batches`` of inputs and targets, in evaluation mode.

    loss: whose gradients give the steepness; without it none is computed. The order of the batches
    does not matter, beyond rounding.
    """
    network.eval()
    sums = {site.name: _Sums(network.get_submodule(site.name), loss is not None) for site in sites}
    images = 0
    try:
        for inputs, targets in batches:
            with torch.set_grad_enabled(loss is not None):
                outputs = network(inputs)
            if loss is not None:
                images += len(targets)
                (loss(outputs, targets) * len(targets)).backward()  # type: ignore[no-untyped-call]
            network.zero_grad(set_to_none=True)
    finally:
        for one in sums.values():
            one.hook.remove()
    return {name: one.statistics(images) for name, one in sums.items()}


class _Sums:
    """What is summed up of the inputs of one site while batches run.

    How many images there are, its inputs do not tell: networks fold windows and tokens into the
    batch, and call a layer several times an image.
    """

    def __init__(self, site: Any, with_gradients: bool) -> None:
        self.site, self.with_gradients = site, with_gradients
        self.rows, groups = 0, groups_of(site)
        fan_in = site.weight[0].numel()
        new = partial(torch.zeros, dtype=torch.double, device=site.weight.device)
        self.total, self.squares = new(groups, fan_in), new(groups, fan_in, fan_in)
        self.steepness = new(len(site.weight))
        self.hook = site.register_forward_hook(self._see)

    def _see(self, site: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Any:
        rows = patches(site, inputs[0].detach()).double()  # (rows, groups, fan-in)
        self.total += rows.sum(0)
        self.squares += torch.einsum("rgi,rgj->gij", rows, rows)
        self.rows += len(rows)
        if not (self.with_gradients and output.requires_grad):
            return output
        output.register_hook(self._add_gradient)  # type: ignore[no-untyped-call]
        return output.clone()  # so that no activation overwrites it in place

    def _add_gradient(self, gradient: Tensor) -> None:
        squares = gradient.double().square()
        if isinstance(self.site, nn.Linear) and squares.dim() > 2:
            squares = squares.movedim(-1, 1)
        channels = squares if squares.dim() < 3 else squares.flatten(2).sum(2)
        self.steepness += channels.sum(0)

    def statistics(self, images: int) -> SiteStatistics:
        """The covariance, and the mean steepness over so many images."""
        mean, covariance = self.total / max(1, self.rows), self.squares / max(1, self.rows)
        covariance = covariance - mean[..., :, None] * mean[..., None, :]
        steepness = self.steepness / max(1, images) if self.with_gradients else None
        return SiteStatistics(covariance, steepness, self.rows > 0)


def patches(conv: Any, images: Tensor) -> Tensor:
    """What some output positions of a layer are computed from, (rows, groups, fan-in).

    images: its input (batch, channels, ...), or (batch, ..., features) of a linear layer.
        The same positions of each image, evenly spread.
    """
    if isinstance(conv, nn.Linear):
        rows = images.flatten(1, -2) if images.dim() > 2 else images[:, None]
        return rows[:, _spread(rows.shape[1])].flatten(0, 1)[:, None]
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = functional.pad(images, conv._reversed_padding_repeated_twice, mode)
    dimensions = len(conv.kernel_size)
    for place in range(dimensions):
        dilation = conv.dilation[place]
        size = dilation * (conv.kernel_size[place] - 1) + 1
        x = x.unfold(2 + place, size, conv.stride[place])[..., ::dilation]
    positions = x.shape[2 : 2 + dimensions]
    count = positions.numel()
    index = torch.unravel_index(_spread(count), positions)
    every: Any = slice(None)
    some = x[(every, every, *index)]  # (batch, channels, positions, kernel...)
    return some.transpose(1, 2).reshape(-1, conv.groups, some[0, :, 0].numel() // conv.groups)


def _spread(count: int) -> Tensor:
    """``POSITIONS`` of ``count`` places, or all, evenly spread."""
    return torch.linspace(0, count - 1, min(count, POSITIONS)).round().long()
