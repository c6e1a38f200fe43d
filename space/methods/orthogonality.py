"""The orthogonality regulariser of shared filters: Kang, Kim 2021, arXiv 2006.05066, section 3.3.

With the flattened filters as rows of B and G = B Bᵀ, filters that are orthonormal have G = 1. For
each set g of filters that are kept apart from one another, S_g sums (G - 1)² over the shared rows
against all rows, and over the unique rows of each site among themselves; n_g counts these entries.
The loss is λ (Σ_g S_g) / (Σ_g n_g); shared kernels of different kinds, as the 3x3 and the last 1x1
of a bottleneck, have an average each, and these are added.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from isoshare.space.methods.parts.decomposition import coordinates


@dataclass(frozen=True)
class Orthogonality:
    """Says of a convolution that its filters shall be orthonormal.

    method, bank: where its shared filters belong; the convolutions of a bank have the same ones.
    together: banks of the same name here are kept apart from one another too.
    weight: λ.
    shared, unique: the names of its parameters that hold the shared filters and its own.
    average: sets of the same name here are averaged together.
    """

    method: str
    bank: str
    together: str
    weight: float
    shared: str
    unique: str | None = None
    average: str = ""


_Host = tuple[Orthogonality, nn.Module, bool]
"""A convolution, what it says, and whether the part of the loss that depends on it is asked for."""


def loss(network: nn.Module, method: str, sites: Collection[str] | None = None) -> Tensor | None:
    """The loss over all banks of ``method`` in ``network``, a scalar; None if none asks for it.

    sites: names; of the loss, only the part that depends on them. None: all of it.
    """
    hosts: list[_Host] = [
        (asked, module, sites is None or name in sites)
        for name, module in network.named_modules()
        if (asked := module.__dict__.get("orthogonality")) is not None and asked.method == method
    ]
    hosts.sort(key=lambda host: (host[0].average, host[0].together))
    averages = [
        _average(list(members)) for _, members in groupby(hosts, key=lambda host: host[0].average)
    ]
    wanted = [average for average in averages if average is not None]
    return torch.stack(wanted).sum() if wanted else None


def bases_beside(network: nn.Module, asked: Orthogonality) -> list[Tensor]:
    """The shared filters in ``network`` from which those of another bank shall be kept apart."""
    found: dict[str, Tensor] = {}
    for module in network.modules():
        other = module.__dict__.get("orthogonality")
        if other is not None and (other.method, other.together) == (asked.method, asked.together):
            found[other.bank] = getattr(module, other.shared).detach()
    return list(found.values())


def orthonormal(shape: Sequence[int], others: Sequence[Tensor], device: torch.device) -> Tensor:
    """Filters of this shape with orthonormal rows, in float32: half precision cannot be decomposed.

    They are orthogonal to those of ``others`` too where there is room for all of them.
    """
    fresh = torch.empty(*shape, device=device)
    nn.init.orthogonal_(fresh)
    rows = fresh.flatten(1).double()
    if not others or sum(map(len, others)) + len(rows) > rows.shape[1]:
        return fresh
    taken = torch.cat([one.flatten(1) for one in others]).double()
    left = rows - coordinates(rows, taken) @ taken
    made: Tensor = torch.linalg.qr(left.mT).Q.mT.to(fresh)
    return made.reshape(fresh.shape)


def _average(hosts: Sequence[_Host]) -> Tensor | None:
    """Over sets of filters, of which those are left out that nothing was asked of; None: all."""
    sums, entries = [], 0
    for _, members in groupby(hosts, key=lambda host: host[0].together):
        kept_apart = list(members)
        shared, own = _filters(kept_apart)
        rows = len(shared) + sum(map(len, own))
        entries += len(shared) * rows + sum(len(one) ** 2 for one in own)
        if any(is_asked for *_, is_asked in kept_apart):
            sums.append(kept_apart[0][0].weight * _penalty(shared, own))
    return torch.stack(sums).sum() / entries if sums else None


def _filters(hosts: Sequence[_Host]) -> tuple[Tensor, list[Tensor]]:
    """The shared filters of a set, those of each bank once, and those of each site its own."""
    bases = {asked.bank: getattr(conv, asked.shared).flatten(1) for asked, conv, _ in hosts}
    own = [getattr(conv, asked.unique).flatten(1) for asked, conv, _ in hosts if asked.unique]
    return torch.cat(list(bases.values())), own


def _penalty(shared: Tensor, own: Sequence[Tensor]) -> Tensor:
    """S_g of one set of filters."""
    total = _squared_distance(shared @ torch.cat([shared, *own]).T)
    for rows in own:
        total = total + _squared_distance(rows @ rows.T)
    return total


def _squared_distance(gram: Tensor) -> Tensor:
    """From the identity, whose ones are on the diagonal of the left square."""
    return (gram - torch.eye(*gram.shape, device=gram.device, dtype=gram.dtype)).square().sum()
