"""Kernel sharing: Azadbakht, Khalfaoui-Hassani, Kheradpisheh, Masquelier 2022, arXiv 2210.14151.

All sites of a bank use one kernel tensor (and one bias, where they have a bias); everything else,
batch normalisation above all, stays private.

The convolutions stay what they are, they only hold the same ``nn.Parameter``: forward and backward
cost nothing extra, autograd sums the gradients of the uses (section 3 of the paper), and whatever
works on the unshared network (hooks, ``torch.compile``, export) works on the shared one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoshare.space.layers import LAYERS
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts, orthogonality
from isoshare.space.methods.checks import check_isomorphic
from isoshare.space.methods.device import Held, Uses, one_kernel
from isoshare.space.sites import Site


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Kernel sharing needs isomorphic sites."""
    check_isomorphic("kernel", sites)


def option_values(sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
    """Nothing to choose: the paper uses no extra loss."""
    return {}


def macs(sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
    """Those of the unshared convolutions."""
    return [site.kernel_parameters for site in sites]


def stored_bytes(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """The trained parameters; of frozen biases one is left, or none beside a trained one."""
    return FLOAT_BYTES * (counts.kernel(sites, options) - counts.dropped_biases(sites))


def activation_elements(
    sites: Sequence[Site], options: Mapping[str, Any]
) -> list[ActivationElements]:
    """As unshared."""
    return [ActivationElements() for _ in sites]


def held(sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
    """The kernel and bias, and what each use of them has."""
    first = sites[0]
    has_bias = any(site.has_bias for site in sites)
    return one_kernel(first.kernel_parameters, first.out_channels, has_bias, uses)


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Give every site the kernel of the first one, and the bias of the first that has one.

    Ordinary initialisation: the shared tensor is what the network's own constructor made.
    """
    convolutions = tie(network, sites)
    if options.get("orthogonality"):
        for conv in convolutions:
            conv.orthogonality = orthogonality.Orthogonality(
                method="kernel",
                bank=sites[0].name,
                together=sites[0].name,
                weight=options["orthogonality"],
                shared="weight",
                average=_kind(sites[0]),
            )


def _kind(site: Site) -> str:
    """What the orthogonality of shared kernels is averaged over: kernel size, and whether a kernel
    widens or narrows.
    """
    return f"{site.kernel_size} {site.out_channels > site.in_channels}"


def to_dense(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """What it holds: it is an ordinary layer."""
    assert isinstance(layer, LAYERS), "sites are layers"
    return layer.weight, layer.bias


def extra_loss(network: nn.Module, sites: Collection[str] | None = None) -> Tensor | None:
    """The orthogonality of the kernels that ask for it."""
    return orthogonality.loss(network, "kernel", sites)


def project(
    network: nn.Module,
    sites: Sequence[Site],
    options: Mapping[str, Any],
    kernels: Sequence[Tensor],
    importance: Sequence[Tensor],
) -> list[Tensor]:
    """The mean of the kernels, each scaled to norm one, weighted by importance element by element.

    Fisher-weighted averaging (Matena and Raffel 2022, arXiv 2111.09832); its importance grows with
    the square of the scale that is taken away. Equal kernels stay exactly what they are.
    """
    convolutions: list[Any] = [network.get_submodule(site.name) for site in sites]
    shared = mean_kernel(kernels, importance)
    with torch.no_grad():
        convolutions[0]._parameters["weight"].copy_(shared)  # an anchor is read otherwise
    return [shared for _ in sites]


def deploy(host: nn.Module) -> None:
    """Nothing to do: a site is an ordinary convolution."""


def norms_to_calibrate(network: nn.Module) -> list[_BatchNorm]:
    """None."""
    return []


def mean_kernel(kernels: Sequence[Tensor], importance: Sequence[Tensor]) -> Tensor:
    """See ``project``; the result has the mean norm of the kernels."""
    first = kernels[0]
    if all(torch.equal(kernel, first) for kernel in kernels):
        return first.clone()
    norms = torch.stack([kernel.norm() for kernel in kernels]).clamp_min(1e-12)
    aligned = torch.stack([kernel / norm for kernel, norm in zip(kernels, norms, strict=True)])
    weights = torch.stack(
        [weight * norm**2 for weight, norm in zip(importance, norms, strict=True)]
    )
    weights = weights + 1e-3 * weights.mean().clamp_min(1e-30)  # no element without any weight
    mean: Tensor = (weights * aligned).sum(0) / weights.sum(0)
    scaled: Tensor = mean * norms.mean() / mean.norm().clamp_min(1e-12)
    return scaled


def tie(network: nn.Module, sites: Sequence[Site]) -> list[Any]:
    """Make the sites hold one kernel and one bias; returns their convolutions.

    The bias is trained if that of any site is.
    """
    convolutions: list[Any] = [network.get_submodule(site.name) for site in sites]
    biases = [conv.bias for conv in convolutions if conv.bias is not None]
    is_trained = any(bias.requires_grad for bias in biases)
    for conv in convolutions:
        conv.weight = convolutions[0].weight
        if conv.bias is not None:
            conv.bias = biases[0].requires_grad_(is_trained)
    return convolutions
