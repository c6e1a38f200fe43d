"""A shared kernel with private low-rank residuals, after Bae et al. 2025 (Relaxed Recursive
Transformers, ICLR), arXiv 2410.20672: they loop a block of a transformer and give each use a
low-rank adapter. For convolutions it is ours to define.

With a kernel seen as a matrix, out-channels x (in-channels of a group times positions), site l has
W + A_l B_l: W is the bank's, A_l (out x r) and B_l (r x columns) are its own, in each group. Biases
stay private, so that trained layers that differ in little but these lose nothing. A starts at zero,
so that a bank starts as kernel sharing; B starts as the kernel of a layer does.

The sum is made into one kernel, in evaluation once. In training two more layers, B and then A, run
in its place where they cost less: where a layer sees few positions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from isoshare.space.layers import as_kernel, dimensions, groups_of, run
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts
from isoshare.space.methods.checks import check_isomorphic, check_plain
from isoshare.space.methods.device import Held, Uses, own_site
from isoshare.space.methods.parts.computed_weight import CachedWeight, become_computed
from isoshare.space.methods.parts.decomposition import truncated
from isoshare.space.sites import Site

ROUNDS = 3
"""How often W and the residuals are fitted in turn; each time brings them closer."""


class LowRank(CachedWeight):
    """A layer with a kernel shared elsewhere and a residual of its own.

    left: A (out, r); right: B (groups r, in/groups, k, k).
    """

    left: nn.Parameter
    right: nn.Parameter

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """As the layer takes them."""
        self.check_unwritten()
        if self.training and self._is_cheaper_apart(input):
            inner = run(self, input, as_kernel(self, self.right), None, output_size)
            outer = run(self, input, self.shared, self.own_bias, output_size)
            return outer + self._mixed(inner)
        return run(self, input, self.made_weight(), self.own_bias, output_size)

    def _is_cheaper_apart(self, x: Tensor) -> bool:
        """Whether two more layers take fewer operations than the product of A and B."""
        batched = x.dim() == dimensions(self) + 2 or isinstance(self, nn.Linear)
        each = len(self.left) + self.right.numel() // self.left.shape[1]
        in_channels = self.right.shape[1] * groups_of(self)
        return batched and each * x.numel() < self.shared.numel() * in_channels

    def _mixed(self, inner: Tensor) -> Tensor:
        """A times what B has made."""
        if isinstance(self, nn.Linear):
            return functional.linear(inner, self.left)
        groups = groups_of(self)
        left = self.left.view(groups, -1, self.left.shape[1])
        by_group = inner.reshape(len(inner), groups, left.shape[-1], *inner.shape[2:])
        return torch.einsum("bgr...,gor->bgo...", by_group, left).flatten(1, 2)

    def sources(self) -> tuple[Tensor, ...]:
        """W, A and B."""
        return self.shared, self.left, self.right

    @property
    def shared(self) -> Tensor:
        """W, as the layer stores a weight."""
        return self.held_weight()

    def residual(self) -> Tensor:
        """A B as a kernel (out, in/groups, k, k)."""
        groups, right = groups_of(self), self.right
        rows = self.left.view(groups, self.left.shape[0] // groups, -1)
        product = rows @ right.reshape(groups, right.shape[0] // groups, -1)
        return product.reshape(-1, *right.shape[1:])

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """W + A B, and the bias."""
        return self.shared + as_kernel(self, self.residual()), self.own_bias


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """A low-rank bank needs isomorphic, plain layers."""
    check_isomorphic("low_rank", sites)
    check_plain("low_rank", sites)


def option_values(sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
    """Powers of two, of which those that save nothing are left out."""
    most = sites[0].kernel_parameters
    ranks = (rank for rank in (1, 2, 4, 8, 16, 32, 64) if counts.residual(sites[0], rank) < most)
    return {"rank": tuple(ranks)}


def macs(sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
    """Those of the unshared layers: in evaluation the kernels are made once."""
    return [site.kernel_parameters for site in sites]


def stored_bytes(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """The trained parameters."""
    return FLOAT_BYTES * counts.low_rank(sites, options)


def activation_elements(
    sites: Sequence[Site], options: Mapping[str, Any]
) -> list[ActivationElements]:
    """As unshared: kernels do not depend on the image."""
    return [ActivationElements() for _ in sites]


def held(sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
    """The kernels as they are once made, one for each site."""
    return Held().plus(*map(own_site, sites, uses))


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Tie the kernels and add the residuals."""
    layers: list[Any] = [network.get_submodule(site.name) for site in sites]
    weight = layers[0].weight
    shape = as_kernel(layers[0], weight).shape
    for site, layer in zip(sites, layers, strict=True):
        layer.weight = weight
        become_computed(layer, LowRank, site.name, keeps_weight=True)
        layer.left = nn.Parameter(weight.new_zeros(site.out_channels, options["rank"]))
        layer.right = nn.Parameter(weight.new_empty(site.groups * options["rank"], *shape[1:]))
        nn.init.kaiming_uniform_(layer.right, a=5**0.5)


def project(
    network: nn.Module,
    sites: Sequence[Site],
    options: Mapping[str, Any],
    kernels: Sequence[Tensor],
    importance: Sequence[Tensor],
) -> list[Tensor]:
    """W is the mean of what the residuals leave of the kernels, and each residual the truncated
    singular value decomposition of what W leaves of its kernel, in turn.
    """
    layers: list[Any] = [network.get_submodule(site.name) for site in sites]
    left_over = [torch.zeros_like(one) for one in kernels]
    for _ in range(ROUNDS):
        aims = [one - other for one, other in zip(kernels, left_over, strict=True)]
        shared = torch.stack(aims).mean(0)
        for layer, trained in zip(layers, kernels, strict=True):
            _fit(layer, as_kernel(layer, trained - shared))
        left_over = [as_kernel(layer, layer.residual()).detach() for layer in layers]
    with torch.no_grad():
        layers[0].shared.copy_(shared)
    return [shared + one for one in left_over]


def to_dense(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The sum of both."""
    assert isinstance(layer, LowRank), "made by share"
    return layer.dense()


def deploy(host: nn.Module) -> None:
    """Nothing to do: runtimes make the kernel once, when they load it."""


def norms_to_calibrate(network: nn.Module) -> list[_BatchNorm]:
    """None."""
    return []


def extra_loss(network: nn.Module, sites: Collection[str] | None = None) -> Tensor | None:
    """None."""
    return None


@torch.no_grad()
def _fit(layer: LowRank, wanted: Tensor) -> None:
    """The residual of the layer's rank that comes closest to a kernel (out, in/groups, k, k)."""
    groups = groups_of(layer)
    rows = wanted.reshape(groups, len(wanted) // groups, -1).double()
    left, right = truncated(rows, layer.left.shape[1])
    layer.left.zero_()[:, : left.shape[2]] = left.flatten(0, 1).to(wanted)
    into = layer.right.zero_().view(groups, layer.left.shape[1], -1)
    into[:, : right.shape[1]] = right.to(wanted)
