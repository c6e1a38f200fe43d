"""Inherit the weights of a trained network: where a plan can start in place of fresh weights.

The trained network's private parts are kept, the kernels that now share are projected onto their
banks (``SharingMethod.project``), and batch normalisation is estimated again on a few batches. One
epoch from there ranks plans that many epochs from scratch would; see docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from evaluators.batches import Batches
from space.apply import apply_plan, fit
from space.methods import METHODS
from space.methods.anchored import AnchoredConv2d
from space.methods.filter_basis import FilterBasisConv2d
from space.methods.slice_generator import SliceGeneratedConv2d
from space.plan import SharingPlan
from space.sites import Site, find_sites

BATCH, FISHER_BATCH = 256, 16
"""Images of a batch for the statistics, and for gradients of single images."""


def inherit(
    source: nn.Module, plan: SharingPlan, importance: Mapping[str, Tensor] | None = None
) -> tuple[nn.Module, float]:
    """A network shared by ``plan`` with the weights of the trained, unshared ``source``.

    importance: as returned by ``fisher``; without it all elements count alike. Also returns the
    projection error: the squared distance between the kernels that were wanted and those that came
    out, both scaled to norm one, averaged over the sites of the plan; 0 to 4, and 0 without banks.
    The statistics of batch normalisation are not yet those of the new network: ``calibrate``.
    """
    sites = find_sites(source)
    network = apply_plan(source, plan)
    distances: list[float] = []
    for bank, members in fit(plan, sites):
        kernels = [_weight(source, site) for site in members]
        weights = [
            torch.ones_like(kernel) if importance is None else importance[site.name]
            for kernel, site in zip(kernels, members, strict=True)
        ]
        method = METHODS[bank.method].implementation
        made = method.project(network, members, bank.options, kernels, weights)
        distances += [_distance(*pair) for pair in zip(kernels, made, strict=True)]
    return network, sum(distances) / len(distances) if distances else 0.0


def fisher(network: nn.Module, data: Batches, images: int = 256) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher information of each site's kernel: the mean over images
    of the squared gradient of its loss. The network is in evaluation mode for that.
    """
    state = {name: tensor.detach() for name, tensor in network.named_parameters()}
    buffers = dict(network.named_buffers())
    names = {site.name: f"{site.name}.weight".lstrip(".") for site in find_sites(network)}
    kernels = {key: state.pop(key) for key in names.values()}

    def loss(chosen: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        everything = {**state, **buffers, **chosen}
        logits = functional_call(network, everything, (image[None],))
        return functional.cross_entropy(logits, label[None])

    squares = {key: torch.zeros_like(kernel) for key, kernel in kernels.items()}
    network.eval()
    each = vmap(grad(loss), in_dims=(None, 0, 0))
    count = min(images, len(data.labels))
    for start in range(0, count, FISHER_BATCH):
        batch = slice(start, min(count, start + FISHER_BATCH))
        images_there = data.normalised(data.images[batch])
        for key, gradients in each(kernels, images_there, data.labels[batch]).items():
            squares[key] += gradients.square().sum(0)
    return {name: squares[key] / count for name, key in names.items()}


@torch.no_grad()
def calibrate(network: nn.Module, data: Batches, images: int = 2048) -> None:
    """Estimate the statistics of batch normalisation again, on the first ``images`` of ``data``.

    The normalisations within filter bases become the identity on these images: that is how their
    coefficients were projected. Everything else, dropout above all, is in evaluation mode.
    """
    norms: list[Any] = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    inner: list[Any] = [
        part.norm for part in network.modules() if isinstance(part, FilterBasisConv2d)
    ]
    passed_by = [norm.register_forward_hook(lambda _, inputs, __: inputs[0]) for norm in inner]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    for start in range(0, min(images, len(data.labels)), BATCH):
        network(data.normalised(data.images[start : start + BATCH]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for norm, hook in zip(inner, passed_by, strict=True):
        hook.remove()
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)
    network.eval()


def take_over(network: nn.Module, parent: nn.Module) -> nn.Module:
    """Give ``network`` the weights of ``parent``, whose banks are those of ``network`` or coarser.

    So a bank that is split starts exactly at its parent's function. Raises RuntimeError where the
    parent's banks are no coarser. Returns ``network``.
    """
    state = parent.state_dict()
    for name, own in network.named_modules():
        part = parent.get_submodule(name)
        if type(own) is nn.Conv2d and type(part) is not nn.Conv2d and isinstance(part, nn.Conv2d):
            kept = {key: tensor for key, tensor in state.items() if not key.startswith(f"{name}.")}
            kept[f"{name}.weight"] = effective_kernel(part)
            if part.bias is not None:
                kept[f"{name}.bias"] = _effective_bias(part)
            state = kept
    network.load_state_dict(state)
    return network


@torch.no_grad()
def effective_kernel(conv: nn.Conv2d) -> Tensor:
    """The kernel (out, in/groups, k, k) with which ``conv`` computes.

    Raises NotImplementedError for a filter basis, which has no kernel but in evaluation mode.
    """
    if isinstance(conv, SliceGeneratedConv2d):
        return conv.generate()
    if isinstance(conv, FilterBasisConv2d):
        raise NotImplementedError("a filter basis has a normalisation in it, and so no kernel")
    if isinstance(conv, AnchoredConv2d):
        return _regulated(conv, conv.weight.flatten(1)).view_as(conv.weight)
    return conv.weight


def _effective_bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    if isinstance(conv, AnchoredConv2d):
        return _regulated(conv, conv.bias[:, None]).flatten()
    return conv.bias


def _regulated(conv: AnchoredConv2d, rows: Tensor) -> Tensor:
    """The regulator's matrix, in groups, times ``rows`` (out, elements)."""
    groups, channels = conv.regulator.groups, conv.out_channels // conv.regulator.groups
    matrix = conv.regulator.weight.view(groups, channels, channels)
    return (matrix @ rows.reshape(groups, channels, -1)).flatten(0, 1)


def _weight(network: nn.Module, site: Site) -> Tensor:
    conv: Any = network.get_submodule(site.name)
    weight: Tensor = conv.weight.detach()
    return weight


def _distance(wanted: Tensor, found: Tensor) -> float:
    """Squared, between kernels scaled to norm one."""
    ends = [one / one.norm().clamp_min(1e-12) for one in (wanted, found)]
    return float((ends[0] - ends[1]).square().sum())
