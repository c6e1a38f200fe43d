"""Inherit the weights of a trained network: where a plan can start in place of fresh weights.

The trained network's private parts are kept, the kernels that now share are projected onto their
banks (``SharingMethod.project``), and batch normalisation is estimated again on a few batches. One
epoch from there ranks plans that many epochs from scratch would; see docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.vmap_ensemble import worth_stacking
from isoshare.space.apply import apply_plan, fit, plain_kernels
from isoshare.space.inheritance import project_weights
from isoshare.space.layers import LAYERS
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import find_sites

BATCH = 128
"""Images at once for the statistics."""


def inherit(
    source: nn.Module, plan: SharingPlan, importance: Mapping[str, Tensor] | None = None
) -> tuple[nn.Module, dict[str, float]]:
    """A network shared by ``plan`` with the weights of the trained, unshared ``source``.

    importance: as returned by ``fisher``; without it all elements count alike. Also returns, for
    each site of the plan, the share of its kernel's squared norm that was lost, from 0 to 1: scale
    does not count, batch normalisation takes it away.
    The statistics of batch normalisation are not yet those of the new network: ``calibrate``.
    """
    network = apply_plan(source, plan, weights="fresh")
    made = project_weights(source, network, fit(plan, find_sites(source)), importance)
    return network, {name: _lost(*kernels) for name, kernels in made.items()}


@torch.no_grad()
def calibrate(network: nn.Module, data: Batches, images: int = 2048) -> None:
    """Estimate the statistics of batch normalisation again, on the first ``images`` of ``data``,
    changed as in training: the weights expect what they have seen there.
    """
    estimate_normalisation(network, _as_in_training(network, data, images))


def _as_in_training(network: nn.Module, data: Batches, images: int) -> Iterator[Tensor]:
    generators = [torch.Generator().manual_seed(0)]
    last = min(images, len(data.labels))
    for start in range(0, last, BATCH):
        places = torch.arange(start, min(start + BATCH, last))
        some = data.normalised(data.augmented(places[None], generators)[0])
        if some.dim() == 4 and not worth_stacking(network, some, BATCH):
            some = some.contiguous(memory_format=torch.channels_last)  # as trained: a third quicker
        yield some


@torch.no_grad()
def estimate_normalisation(network: nn.Module, batches: Iterable[Any]) -> None:
    """Estimate the statistics of batch normalisation again, on batches of inputs.

    The normalisations within what methods add become the identity on them: so they were taken when
    weights were projected. Everything else, dropout above all, is in evaluation mode.
    """
    norms: list[Any] = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    inner: list[Any] = [
        norm for row in METHODS.values() for norm in row.implementation.norms_to_calibrate(network)
    ]
    passed_by = [norm.register_forward_hook(lambda _, inputs, __: inputs[0]) for norm in inner]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    for some in batches:
        network(some)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for norm, hook in zip(inner, passed_by, strict=True):
        hook.remove()
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)
    network.eval()


@torch.no_grad()
def take_over(network: nn.Module, parent: nn.Module, plan: SharingPlan) -> nn.Module:
    """Give ``network`` the weights of ``parent``, which is shared by ``plan``: by the banks of
    ``network``, or by coarser ones.

    So a bank that is split starts at its parent's function: exactly, or up to rounding where a site
    becomes private. What a private convolution would need a bias for that it does not have goes
    into the running mean of the batch normalisation registered after it, if there is one. Raises
    RuntimeError where the parent's banks are no coarser. Returns ``network``.
    """
    state = dict(parent.state_dict())
    for name, (kernel, bias) in plain_kernels(parent, plan).items():
        own: Any = network.get_submodule(name)
        if type(own) not in LAYERS:
            continue
        state = {key: tensor for key, tensor in state.items() if not key.startswith(f"{name}.")}
        state[f"{name}.weight"] = kernel
        if own.bias is not None and bias is not None:
            state[f"{name}.bias"] = bias
        elif bias is not None:
            _into_norm(state, network, name, bias)
    network.load_state_dict(state)
    return network


def _into_norm(state: dict[str, Tensor], network: nn.Module, name: str, bias: Tensor) -> None:
    """What is not added before a normalisation need not be subtracted in it."""
    path, _, leaf = name.rpartition(".")
    children = [child for child, _ in network.get_submodule(path).named_children()]
    following = [*children, None][children.index(leaf) + 1]
    mean = f"{path}.{following}.running_mean".lstrip(".")
    if mean in state:
        state[mean] = state[mean] - bias


def _lost(wanted: Tensor, found: Tensor) -> float:
    """The squared sine of the angle between two kernels; 1 where it is beyond a right angle."""
    ends = [one.double() / one.double().norm().clamp_min(1e-12) for one in (wanted, found)]
    cosine = float((ends[0] * ends[1]).sum())
    return 1 - min(1.0, max(0.0, cosine)) ** 2
