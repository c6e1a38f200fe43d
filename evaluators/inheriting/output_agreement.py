"""In which order the channels of kernels that share agree best, by what their sites put out.

Channels are matched by linear assignment: for rows of a kernel the correlation of outputs is a sum
over channels, which that solves exactly; for columns two orders are tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics
from isoshare.space.passes.hidden_channels import Role

TINY = 1e-12
LEAST_GAIN = 1e-5
"""In correlation, the sum over sites: for less no channel is moved."""


class Inputs:
    """The covariance of a site's inputs. It stays as it was measured, whatever order they are in
    now: a kernel is moved far quicker than the square of its columns.
    """

    def __init__(self, known: SiteStatistics, kernel: Tensor) -> None:
        self.covariance = known.covariance.to(kernel)  # where that is, and as precise
        self._order: Tensor | None = None

    def renumber(self, role: Role, order: Tensor) -> None:
        """Follow channels that now stand in ``order``."""
        if role == "carries":
            self.covariance = self.covariance[order]
        elif role == "reads":
            columns = torch.arange(self.covariance.shape[-1]).view(len(order), -1)
            columns = columns[order].flatten()
            self._order = columns if self._order is None else self._order[columns]

    def times(self, rows: Tensor) -> Tensor:
        """Rows, (groups, out/groups, fan-in), times the covariance."""
        if self._order is None:
            return rows @ self.covariance
        products: Tensor = rows[..., self._order.argsort()] @ self.covariance
        return products[..., self._order]


class Tied:
    """A site, and what its kernel shall agree with.

    slope: as ``slope`` gives it. correlations: what the outputs' correlation, the mean over
    channels, has of channel i of the kernel in place j, (i, j). Where columns move, the variances
    of outputs do too, and are not known before: there they are as they were.
    """

    def __init__(
        self, kernel: Tensor, slope: Tensor, aim: Tensor, role: Role, inputs: Inputs | None
    ) -> None:
        self._kernel, self._aim, self._role, self._inputs = kernel, aim, role, inputs
        self._slope = slope / len(aim)
        self.correlations = self._correlations()

    def agreement(self, order: Tensor) -> float:
        """The correlation of outputs with channels in ``order``, the mean over channels."""
        if self._role != "reads":
            return float(self.correlations[order, torch.arange(len(order))].sum())
        return float((self._slope * self._scaled(self._aim[:, order.argsort()])).sum())

    def likeness(self) -> Tensor:
        """What the kernels' own correlation has of each channel in each place: as if inputs were
        uncorrelated, and so exact for columns too.
        """
        kernels = self._kernel / self._kernel.norm(), self._aim / self._aim.norm()
        return self._by_channel(*kernels)

    def _correlations(self) -> Tensor:
        if self._role != "carries" or self._inputs is None:
            return self._by_channel(self._slope, self._scaled(self._aim))
        aims = self._aim.flatten(1)  # each under the inputs of the channel that it would get
        variances = torch.einsum("jp,ipq,jq->ij", aims, self._inputs.covariance, aims)
        return self._by_channel(self._slope, self._aim) / variances.clamp_min(TINY).sqrt()

    def _scaled(self, aim: Tensor) -> Tensor:
        """With outputs of variance one."""
        rows, products = _products(aim, self._inputs)
        return (rows / _deviation(rows, products)).view_as(aim)

    def _by_channel(self, one: Tensor, other: Tensor) -> Tensor:
        """The products of two kernels, channel by channel, (i, j)."""
        if self._role == "reads":
            one, other = one.transpose(0, 1), other.transpose(0, 1)
        products: Tensor = one.flatten(1) @ other.flatten(1).T
        return products


def slope(kernel: Tensor, inputs: Inputs | None) -> Tensor:
    """By how much the output of each row, scaled to one, moves with each element."""
    rows, products = _products(kernel, inputs)
    return (products / _deviation(rows, products)).view_as(kernel)


def _products(kernel: Tensor, inputs: Inputs | None) -> tuple[Tensor, Tensor]:
    """Rows by group, (groups, out/groups, fan-in), and these times the covariance."""
    groups = 1 if inputs is None else len(inputs.covariance)
    rows = kernel.reshape(groups, len(kernel) // groups, -1)
    return rows, rows if inputs is None else inputs.times(rows)


def _deviation(rows: Tensor, products: Tensor) -> Tensor:
    """Of the output of each row, (groups, out/groups, 1)."""
    return (rows * products).sum(-1, keepdim=True).clamp_min(TINY).sqrt()


def best_order(tied: Sequence[Tied]) -> Tensor | None:
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
