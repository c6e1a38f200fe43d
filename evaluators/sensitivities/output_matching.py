"""Bring what shared sites compute close to what they computed unshared, by a few seconds of work.

Kernels that are near each other may compute what is not near at all: inputs vary in some directions
far more than in others. So the tensors of each bank are moved by L-BFGS (Liu and Nocedal 1989, doi
10.1007/BF01589116) until the outputs of its sites correlate best, channel by channel, with those of
the trained network: for all methods alike, through the covariance of the inputs of each site on a
few hundred images. Mean and scale of each channel are left to the batch normalisation behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics, site_statistics
from isoshare.space.methods import METHODS, MethodRow
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, find_sites

IMAGES, BATCH = 512, 128
"""Images for the covariances, and of them at once."""
STEPS = 30
"""Of L-BFGS, a bank."""
WIDEST = 2_304
"""Inputs of an output, up to which covariances are taken: those of 256 channels at 3x3."""
RIDGE = 1e-3
"""Of the mean variance of the inputs, in directions that the images do not show."""


def input_statistics(
    network: nn.Module, batches: Iterable[tuple[Any, Any]]
) -> dict[str, SiteStatistics]:
    """Of each site of a trained network whose outputs can be matched: ``match_outputs`` needs it.

    batches: inputs and targets, ``IMAGES`` in all are enough. Left out are transposed convolutions
    and sites with more than ``WIDEST`` inputs an output.
    """
    sites = [site for site in find_sites(network) if is_matched(site)]
    found = site_statistics(network, sites, batches)
    return {name: one for name, one in found.items() if float(one.covariance.abs().sum()) > 0}


def match_outputs(
    network: nn.Module, source: nn.Module, plan: SharingPlan, known: Mapping[str, SiteStatistics]
) -> dict[str, float]:
    """Move the banks of ``network``, which ``plan`` shares and which was projected from ``source``.

    known: as ``input_statistics`` gives it for ``source``; banks with other sites stay as they are.
    Returns for each matched site how far its output is off: 2 - 2 x the correlation, the mean over
    channels, so from 0 to 4. No bank comes out farther off than it went in.
    """
    moved: dict[str, float] = {}
    for bank in plan.banks:
        tensors = _movable([network.get_submodule(name) for name in bank.sites])
        if tensors and all(name in known for name in bank.sites):
            moved |= _match(network, source, bank, tensors, known)
    return moved


def _match(
    network: nn.Module,
    source: nn.Module,
    bank: Bank,
    tensors: Sequence[Tensor],
    known: Mapping[str, SiteStatistics],
) -> dict[str, float]:
    row = METHODS[bank.method]
    aims = {name: _Aim(known[name], source.get_submodule(name).weight) for name in bank.sites}
    before = [tensor.detach().clone() for tensor in tensors]

    def distances() -> Tensor:
        made = {name: row.implementation.to_dense(network.get_submodule(name))[0] for name in aims}
        return torch.stack([aim.distance(made[name]) for name, aim in aims.items()])

    with torch.no_grad():
        first = distances()
    _descend(network, row, tensors, distances)
    with torch.no_grad():
        last = distances()
        if not bool(last.sum() <= first.sum()):  # nor where it is no number
            for tensor, kept in zip(tensors, before, strict=True):
                tensor.copy_(kept)
            last = first
    return dict(zip(aims, last.tolist(), strict=True))


def _descend(network: nn.Module, row: MethodRow, tensors: Sequence[Tensor], distances: Any) -> None:
    """Minimise the sum of the distances and what the method adds to the loss in training."""
    optimizer = torch.optim.LBFGS(
        tensors, max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        extra = row.implementation.extra_loss(network)
        total: Tensor = distances().sum() + (0.0 if extra is None else extra)
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    network.zero_grad(set_to_none=True)


def _movable(hosts: Sequence[nn.Module]) -> list[Tensor]:
    """The kernels, codes and coefficients of a bank, each once: all but biases and scales."""
    tensors = {id(one): one for host in hosts for one in host.parameters()}
    return [one for one in tensors.values() if one.requires_grad and one.dim() > 1]


class _Aim:
    """What the output of one site shall correlate with."""

    def __init__(self, known: SiteStatistics, trained: Any) -> None:
        wanted: Tensor = trained.detach()
        covariance = known.covariance
        ridge = RIDGE * covariance.diagonal(dim1=-2, dim2=-1).mean()
        unit = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        self._covariance = (covariance + ridge * unit).to(wanted)
        rows = self._rows(wanted)
        product = rows @ self._covariance
        scale = (product * rows).sum(-1, keepdim=True).sqrt()
        self._aim = product / scale.clamp_min(1e-12)

    def distance(self, kernel: Tensor) -> Tensor:
        """2 - 2 x the correlation of the outputs, the mean over channels."""
        rows = self._rows(kernel)
        here = rows.detach()
        # Twice the product is the gradient of the variance: autograd would multiply once more.
        variance = ((here @ self._covariance) * (2 * rows - here)).sum(-1)
        together = (rows * self._aim).sum(-1)
        return 2 - 2 * (together * (variance + 1e-20).rsqrt()).mean()

    def _rows(self, kernel: Tensor) -> Tensor:
        groups = len(self._covariance)
        return kernel.reshape(groups, len(kernel) // groups, -1)


def is_matched(site: Site) -> bool:
    """Whether the outputs of a site are matched: it is no transposed one, nor too wide."""
    inputs = site.kernel_parameters // site.out_channels
    return site.kind != "transposed" and inputs <= WIDEST
