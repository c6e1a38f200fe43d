"""Anchored convolution: Huang, Dwivedi, Roig 2019 (DACNN, CVPR Workshops), arXiv 1904.09764.

All sites of a bank use one kernel, the anchor; a *regulator*, a private 1x1 convolution, lets a
site differ from the others. Batch normalisation stays private.

The paper puts a regulator after every convolution of its plain networks, and in its mixed networks
one into each residual block, after the second batch normalisation (section 3): ``every=2`` and
``regulator_after="batch_norm"``. A regulator starts as the identity, so that an anchored bank
starts as the kernel bank of the same sites.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoshare.space.errors import PlanError
from isoshare.space.layers import NORMS, dimensions, groups_of, pointwise, run
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts, kernel
from isoshare.space.methods.checks import check_isomorphic, check_not_transposed, check_plain
from isoshare.space.methods.device import Held, Uses, one_kernel, own_kernel
from isoshare.space.methods.parts.computed_weight import (
    ComputedWeight,
    become,
    become_computed,
)
from isoshare.space.methods.parts.ordinary import become_sequence, layer_by
from isoshare.space.methods.parts.regulated_norm import RegulatedNorm
from isoshare.space.sites import Site, describe, registered_after


class Anchored(ComputedWeight):
    """A convolution with a kernel shared elsewhere, followed by its regulator."""

    regulator: Any

    def forward(self, input: Tensor) -> Tensor:
        """input: (batch, in_channels, height, width)."""
        self.check_unwritten()
        if self.is_rounded_twice():
            return run(self, input, *self.dense())
        y: Tensor = self.regulator(run(self, input, self.anchor, self.own_bias))
        return y

    @property
    def anchor(self) -> Tensor:
        """The shared kernel (out, in/groups, k, k). Raises PlanError if it has been replaced."""
        return self.held_weight()

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """The regulator times the anchor."""
        groups, bias, anchor = groups_of(self), self.own_bias, self.anchor
        shape = (groups, len(anchor) // groups, -1)
        mixing = self.regulator.weight.view(shape)
        mixed = mixing @ anchor.reshape(shape)
        moved = None if bias is None else (mixing @ bias.view(groups, -1, 1)).flatten()
        return mixed.view_as(anchor), moved


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """An anchored bank needs isomorphic sites that are plain convolutions.

    Behind a linear layer a regulator would be one more of its size.
    """
    check_isomorphic("anchored", sites)
    check_plain("anchored", sites)
    check_not_transposed("anchored", sites)
    if sites[0].kind == "linear":
        raise PlanError(
            f"an anchored bank needs convolutions, but {describe(sites[0])}; share it by method "
            "low_rank, which is the same idea for linear layers, or by kernel"
        )


def option_values(sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
    """A regulator at every site, or at every second one as in a residual block."""
    return {"every": (1, 2)}


def macs(sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
    """Those of the convolution, and of its regulator where it has one."""
    return [
        site.kernel_parameters + has * counts.regulator(site)
        for site, has in zip(sites, counts.regulated(len(sites), options["every"]), strict=True)
    ]


def stored_bytes(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """As with one kernel, and the regulators."""
    return FLOAT_BYTES * (counts.anchored(sites, options) - counts.dropped_biases(sites))


def activation_elements(
    sites: Sequence[Site], options: Mapping[str, Any]
) -> list[ActivationElements]:
    """A regulator's input and output at once."""
    both = 2 * sites[0].out_channels
    inside = options["regulator_after"] == "convolution"
    place = ActivationElements(after=both) if inside else ActivationElements(normalisation=both)
    return [
        place if has else ActivationElements()
        for has in counts.regulated(len(sites), options["every"])
    ]


def held(sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
    """The kernel with all its uses; a regulator right after one takes the normalisation up."""
    first, inside = sites[0], options["regulator_after"] == "convolution"
    size, width = counts.regulator(first), first.out_channels
    regulators, anchors = Held(), []
    for one, has in zip(uses, counts.regulated(len(sites), options["every"]), strict=True):
        regulator = Uses(one.calls, one.norms if inside else 0)
        anchors.append(Uses(one.calls, 0) if has and inside else one)
        regulators = regulators.plus(own_kernel(size, width, False, regulator) if has else Held())
    has_bias = any(site.has_bias for site in sites)
    return one_kernel(first.kernel_parameters, width, has_bias, anchors).plus(regulators)


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Tie the kernels and add the regulators; raises PlanError if a normalisation is missing."""
    convolutions = kernel.tie(network, sites)
    for site, conv, has in zip(
        sites, convolutions, counts.regulated(len(sites), options["every"]), strict=True
    ):
        if not has:
            continue
        host, regulator = conv, _regulator(conv)
        if options["regulator_after"] == "convolution":
            become_computed(host, Anchored, site.name, keeps_weight=True)
        else:
            host = _norm_beside(network, site, conv)
            become(host, RegulatedNorm, type(host))
            host.site = site.name
        host.regulator = regulator


def project(
    network: nn.Module,
    sites: Sequence[Site],
    options: Mapping[str, Any],
    kernels: Sequence[Tensor],
    importance: Sequence[Tensor],
) -> list[Tensor]:
    """The mean kernel as anchor, and regulators that bring it back by least squares.

    A regulator after the batch normalisation stays the identity.
    """
    anchor = kernel.project(network, sites, options, kernels, importance)[0]
    made = []
    for site, trained in zip(sites, kernels, strict=True):
        host: Any = network.get_submodule(site.name)
        if not isinstance(host, Anchored):
            made.append(anchor)
            continue
        shape = (site.groups, site.out_channels // site.groups, -1)
        rows, wanted = anchor.reshape(shape), trained.reshape(shape)
        found = torch.linalg.lstsq(rows.mT.double(), wanted.mT.double(), driver="gelsd").solution
        weight = found.mT.to(trained.dtype)
        with torch.no_grad():
            own: Any = host.regulator.weight
            own.copy_(weight.reshape(own.shape))
        made.append((weight @ rows).flatten(0, 1).view_as(trained))
    return made


def to_dense(conv: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The regulator times the anchor, where the regulator stands right after the convolution."""
    return conv.dense() if isinstance(conv, Anchored) else kernel.to_dense(conv)


def deploy(host: nn.Module) -> None:
    """A convolution and its regulator."""
    if isinstance(host, Anchored):
        groups, regulator = groups_of(host), host.regulator
        become_sequence(host, layer_by(host, host.anchor, host.own_bias, groups), regulator)


def norms_to_calibrate(network: nn.Module) -> list[_BatchNorm]:
    """None."""
    return []


def extra_loss(network: nn.Module, sites: Collection[str] | None = None) -> Tensor | None:
    """None."""
    return None


def _regulator(conv: Any) -> nn.Module:
    """A 1x1 convolution in as many groups as ``conv``, the identity to begin with."""
    regulator = pointwise(conv, conv.out_channels, conv.out_channels)
    nn.init.dirac_(regulator.weight, conv.groups)
    made: nn.Module = regulator.to(conv._parameters["weight"]).train(conv.training)
    return made


def _norm_beside(network: nn.Module, site: Site, conv: nn.Module) -> Any:
    """The batch normalisation that is registered right after the convolution of a site."""
    following, wanted = registered_after(network, site), NORMS[dimensions(conv)]
    if type(following) is not wanted or following.num_features != site.out_channels:
        raise PlanError(
            f"regulator_after='batch_norm' needs an nn.{wanted.__name__}({site.out_channels}) "
            f"registered right after {site.name!r}, there is {type(following).__name__}; use "
            "'convolution'"
        )
    return following
