"""Bring what shared sites compute close to what they computed unshared, by a few seconds of work.

Kernels that are near each other may compute what is not near at all: inputs vary in some directions
far more than in others. So the tensors of each bank are moved by L-BFGS (Liu and Nocedal 1989, doi
10.1007/BF01589116) until the outputs of its sites correlate best, channel by channel, with those of
the trained network: for all methods alike, through the covariance of the inputs of each site on a
few hundred images. Channels count by how much the loss depends on them, where that is known. Mean
and scale of each channel are left to the batch normalisation behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics, site_statistics
from isoshare.space.methods import METHODS, MethodRow
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import Site, find_sites

IMAGES, BATCH = 512, 128
"""Images for the covariances, and of them at once."""
STEPS, MOST_STEPS = 30, 100
"""Of L-BFGS, a bank: for a score, and to start from. Kernels alone are done after 30; what has
regulators, coefficients or residuals goes on."""
MOST_WORK = 1e11
"""Multiply-accumulates that more than ``STEPS`` may take a bank: some seconds."""
WIDEST = 2_304
"""Inputs of an output, up to which covariances are taken: those of 256 channels at 3x3."""
LEAST_VARIANCE = 1e-6
"""Of the squared mean: what is below is rounding, as squares are summed in single precision."""
ALIKE = 0.1
"""Of the weight of all channels of a site, that is spread evenly."""
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
    return {name: one for name, one in found.items() if _varies(one)}


def _varies(inputs: SiteStatistics) -> bool:
    """Whether the images differ by more than rounding."""
    variance = inputs.covariance.diagonal(dim1=-2, dim2=-1).sum()
    return bool(variance > LEAST_VARIANCE * inputs.mean.square().sum())


def match_outputs(  # noqa: PLR0913  two networks, what is known of them, and how long
    network: nn.Module,
    source: nn.Module,
    plan: SharingPlan,
    known: Mapping[str, SiteStatistics],
    *,
    importance: Mapping[str, Tensor] | None = None,
    most: int = MOST_STEPS,
) -> dict[str, float]:
    """Move the banks of ``network``, which ``plan`` shares and which was projected from ``source``.

    known: as ``input_statistics`` gives it for ``source``; banks with other sites stay as they are.
    importance: as ``fisher`` gives it; without it all channels of a site count alike.
    most: steps for a bank, as far as they are cheap.
    Returns for each matched site how far its output is off: 2 - 2 x the correlation, the mean over
    channels as they count, so from 0 to 4. No bank comes out farther off than it went in.
    """
    moved: dict[str, float] = {}
    for bank in plan.banks:
        tensors = _movable([network.get_submodule(name) for name in bank.sites])
        if tensors and all(name in known for name in bank.sites):
            kernels = {name: source.get_submodule(name).weight for name in bank.sites}
            counting = importance or {}
            aims = {
                name: _Aim(known[name], kernel, counting.get(name))
                for name, kernel in kernels.items()
            }
            moved |= _match(network, METHODS[bank.method], tensors, aims, most)
    return moved


def _match(
    network: nn.Module,
    row: MethodRow,
    tensors: Sequence[Tensor],
    aims: Mapping[str, _Aim],
    most: int,
) -> dict[str, float]:
    before = [tensor.detach().clone() for tensor in tensors]

    def distances() -> Tensor:
        made = {name: row.implementation.to_dense(network.get_submodule(name))[0] for name in aims}
        return torch.stack([aim.distance(made[name]) for name, aim in aims.items()])

    with torch.no_grad():
        first = distances()
    work = sum(aim.work for aim in aims.values())
    steps = min(most, max(STEPS, int(MOST_WORK / work)))

    def loss() -> Tensor:
        extra = row.implementation.extra_loss(network, aims)
        return distances().sum() + (0.0 if extra is None else extra)

    _descend(tensors, loss, steps)
    with torch.no_grad():
        last = distances()
        if not bool(last.sum() <= first.sum()):  # nor where it is no number
            for tensor, kept in zip(tensors, before, strict=True):
                tensor.copy_(kept)
            last = first
    return dict(zip(aims, last.tolist(), strict=True))


def _descend(tensors: Sequence[Tensor], loss: Callable[[], Tensor], steps: int) -> None:
    """Minimise the loss."""
    optimizer = torch.optim.LBFGS(
        tensors, max_iter=steps, history_size=10, line_search_fn="strong_wolfe"
    )

    def with_gradients() -> Tensor:
        total = loss()
        # Filters of other banks, from which these are kept apart, get no gradients.
        gradients = torch.autograd.grad(total, tensors, allow_unused=True)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        return total.detach()

    with torch.enable_grad():
        optimizer.step(with_gradients)  # type: ignore[no-untyped-call]
    optimizer.zero_grad()


def _movable(hosts: Sequence[nn.Module]) -> list[Tensor]:
    """The kernels, codes and coefficients of a bank, each once: all but biases and scales."""
    tensors = {id(one): one for host in hosts for one in host.parameters()}
    return [one for one in tensors.values() if one.requires_grad and one.dim() > 1]


class _Aim:
    """What the output of one site shall correlate with."""

    def __init__(self, known: SiteStatistics, trained: Any, importance: Tensor | None) -> None:
        wanted: Tensor = trained.detach()
        covariance = known.covariance
        ridge = RIDGE * covariance.diagonal(dim1=-2, dim2=-1).mean()
        unit = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        self._covariance = (covariance + ridge * unit).to(wanted)
        rows = self._rows(wanted)
        self.work = rows.numel() * rows.shape[-1]
        product = rows @ self._covariance
        scale = (product * rows).sum(-1, keepdim=True).sqrt()
        self._aim = product / scale.clamp_min(1e-12)
        self._weights = _weights(wanted, importance).view(rows.shape[:-1])

    def distance(self, kernel: Tensor) -> Tensor:
        """2 - 2 x the correlation of the outputs, the mean over channels as they count."""
        rows = self._rows(kernel)
        here = rows.detach()
        # Twice the product is the gradient of the variance: autograd would multiply once more.
        variance = ((here @ self._covariance) * (2 * rows - here)).sum(-1)
        together = (rows * self._aim).sum(-1)
        return 2 - 2 * (self._weights * together * (variance + 1e-20).rsqrt()).sum()

    def _rows(self, kernel: Tensor) -> Tensor:
        groups = len(self._covariance)
        return kernel.reshape(groups, len(kernel) // groups, -1)


def _weights(kernel: Tensor, importance: Tensor | None) -> Tensor:
    """How much each channel counts, (out,), one together: by the root of the squared gradients of
    the loss by the elements of its kernel, each relative to itself.
    """
    alike = kernel.new_full((len(kernel),), 1 / len(kernel))
    if importance is None:
        return alike
    depends = (importance.to(kernel) * kernel.square()).flatten(1).sum(1).sqrt()
    total = depends.sum()
    return ALIKE * alike + (1 - ALIKE) * depends / total if total > 0 else alike


def is_matched(site: Site) -> bool:
    """Whether the outputs of a site are matched: it is no transposed one, nor too wide."""
    inputs = site.kernel_parameters // site.out_channels
    return site.kind != "transposed" and inputs <= WIDEST
