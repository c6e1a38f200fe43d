"""Anchored convolution: Huang, Dwivedi, Roig 2019 (DACNN, CVPR Workshops), arXiv 1904.09764.

All sites of a bank use one kernel, the anchor; a *regulator*, a private 1x1 convolution, lets a
site differ from the others. Batch normalisation stays private.

The paper puts a regulator after every convolution of its plain networks, and in its mixed networks
one into each residual block, after the second batch normalisation (section 3): ``every=2`` and
``regulator_after="batch_norm"``. A regulator starts as the identity, so that an anchored bank
starts as the kernel bank of the same sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.space.errors import PlanError
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts, kernel
from isoshare.space.methods.checks import check_isomorphic, check_plain
from isoshare.space.methods.computed_weight import ComputedWeightConv2d
from isoshare.space.methods.device import Held, Uses, one_kernel, own_kernel
from isoshare.space.methods.ordinary import become_sequence, layer_by
from isoshare.space.sites import Site, registered_after


class AnchoredConv2d(ComputedWeightConv2d):
    """A convolution with a kernel shared elsewhere, followed by its regulator."""

    regulator: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        self.check_unwritten()
        y: Tensor = self.regulator(self._conv_forward(x, self.anchor, self.own_bias))
        return y

    @property
    def anchor(self) -> Tensor:
        """The shared kernel (out, in/groups, k, k). Raises PlanError if it has been replaced."""
        kernel = self._parameters.get("weight")
        if kernel is None:
            raise PlanError(
                f"the kernel of {self.site!r} has been pruned or parametrised after it was shared: "
                "do that to the network before, then the site stays private"
            )
        return kernel

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """The regulator times the anchor."""
        groups, bias = self.groups, self.own_bias
        mixing = self.regulator.weight.view(groups, self.out_channels // groups, -1)
        mixed = mixing @ self.anchor.reshape(groups, self.out_channels // groups, -1)
        moved = None if bias is None else (mixing @ bias.view(groups, -1, 1)).flatten()
        return mixed.view_as(self.anchor), moved


class RegulatedBatchNorm2d(nn.BatchNorm2d):
    """The batch normalisation of an anchored convolution, followed by the regulator."""

    regulator: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        y: Tensor = self.regulator(super().forward(x))
        return y


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """An anchored bank needs isomorphic sites that are plain convolutions."""
    check_isomorphic("anchored", sites)
    check_plain("anchored", sites)


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
    has_bias = any(site.bias for site in sites)
    return one_kernel(first.kernel_parameters, width, has_bias, anchors).plus(regulators)


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Tie the kernels and add the regulators; raises PlanError if a normalisation is missing."""
    convolutions = kernel.tie(network, sites)
    host_class: type[nn.Module]
    for site, conv, has in zip(
        sites, convolutions, counts.regulated(len(sites), options["every"]), strict=True
    ):
        if not has:
            continue
        if options["regulator_after"] == "convolution":
            host, host_class = conv, AnchoredConv2d
        else:
            host, host_class = _norm_beside(network, site), RegulatedBatchNorm2d
        regulator = _regulator(conv)
        host.__class__ = host_class
        host.site, host.regulator = site.name, regulator


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
        if not isinstance(host, AnchoredConv2d):
            made.append(anchor)
            continue
        shape = (site.groups, site.out_channels // site.groups, -1)
        rows, wanted = anchor.reshape(shape), trained.reshape(shape)
        found = torch.linalg.lstsq(rows.mT.double(), wanted.mT.double(), driver="gelsd").solution
        weight = found.mT.to(trained.dtype)
        with torch.no_grad():
            host.regulator.weight.copy_(weight.flatten(0, 1)[:, :, None, None])
        made.append((weight @ rows).flatten(0, 1).view_as(trained))
    return made


def to_dense(conv: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The regulator times the anchor, where the regulator stands right after the convolution."""
    return conv.dense() if isinstance(conv, AnchoredConv2d) else kernel.to_dense(conv)


def deploy(host: nn.Module) -> None:
    """A convolution and its regulator."""
    if isinstance(host, AnchoredConv2d):
        conv: Any = host
        become_sequence(
            conv, layer_by(conv, conv.anchor, conv.own_bias, conv.groups), conv.regulator
        )


def norms_to_calibrate(network: nn.Module) -> list[nn.BatchNorm2d]:
    """None."""
    return []


def extra_loss(network: nn.Module) -> Tensor | None:
    """None."""
    return None


def _regulator(conv: nn.Conv2d) -> nn.Conv2d:
    """A 1x1 convolution in as many groups as ``conv``, the identity to begin with."""
    channels, groups = conv.out_channels, conv.groups
    regulator = nn.Conv2d(channels, channels, 1, groups=groups, bias=False)
    nn.init.dirac_(regulator.weight, groups)
    return regulator.to(conv.weight).train(conv.training)


def _norm_beside(network: nn.Module, site: Site) -> Any:
    """The batch normalisation that is registered right after the convolution of a site."""
    following = registered_after(network, site)
    if type(following) is not nn.BatchNorm2d or following.num_features != site.out_channels:
        raise PlanError(
            f"regulator_after='batch_norm' needs an nn.BatchNorm2d({site.out_channels}) registered "
            f"right after {site.name!r}, there is {type(following).__name__}; use 'convolution'"
        )
    return following
