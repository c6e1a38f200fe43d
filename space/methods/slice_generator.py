"""Convolutional slice generator (CSG): Omidvar, Akhlaghi, Su, Franceschetti, Gupta 2019,
arXiv 1906.04309.

One linear map G, without bias, makes the kernels of all sites of a bank from private codes. With
slices of S x S x k x k = N elements and codes of c numbers, G is N x c and a site with in → out
channels has codes Z of n x c, n = ⌈in/S⌉ ⌈out/S⌉. Its kernel is Z Gᵀ, viewed flat as
(⌈out/S⌉ S, ⌈in/S⌉ S, k, k) and cropped to (out, in, k, k): a slice fills N consecutive elements.
In-channels are those of one group. Sites of one kernel size fit, whatever their channels.

G may be trained; *reused*, frozen with the weights of another network's (``reuse_generators``); or
*binary*, frozen at ±0.5. The codes are always trained.

Kernels start at the Kaiming scale: G has variance 1/c (binary: 1/4) and codes the variance that
brings the elements of Z Gᵀ to 2 / fan-out. (The paper starts them two orders of magnitude
higher and leaves it to batch normalisation.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil, prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoshare.space.errors import PlanError
from isoshare.space.layers import as_kernel, run
from isoshare.space.methods import FLOAT_BYTES, ActivationElements, counts
from isoshare.space.methods.checks import check_kernel_size, check_plain
from isoshare.space.methods.device import Held, Uses, own_site
from isoshare.space.methods.parts.computed_weight import CachedWeight, become_computed
from isoshare.space.methods.parts.decomposition import principal
from isoshare.space.sites import Site


class SliceGenerated(CachedWeight):
    """A layer whose kernel is generated.

    generator: G (N, c), one tensor for the bank; codes: Z (n, c).
    """

    generator: nn.Parameter
    codes: nn.Parameter
    slice_size: int
    shape: tuple[int, ...]

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """As the layer takes them."""
        self.check_unwritten()
        return run(self, input, self.made_weight(), self.own_bias, output_size)

    def sources(self) -> tuple[Tensor, ...]:
        """Generator and codes."""
        return self.generator, self.codes

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """The generated kernel; the bias is the layer's own."""
        return as_kernel(self, self.generate()), self.own_bias

    def generate(self) -> Tensor:
        """Z Gᵀ, viewed flat and cropped: (out, in/groups, k, k)."""
        size, (rows, columns, *sides) = self.slice_size, self.shape
        flat = self.codes @ self.generator.T
        whole = flat.view(_up(rows, size), _up(columns, size), *sides)
        return whole[:rows, :columns]

    def cut(self, kernel: Tensor) -> Tensor:
        """The slices (n, N) of a kernel (out, in/groups, k, k), filled up with zeros."""
        rows, columns = (_up(channels, self.slice_size) for channels in kernel.shape[:2])
        whole = kernel.new_zeros(rows, columns, *kernel.shape[2:])
        whole[: kernel.shape[0], : kernel.shape[1]] = kernel
        return whole.view(len(self.codes), -1)


def check(sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """A generator needs plain layers of one kernel size."""
    check_kernel_size("slice_generator", sites)
    check_plain("slice_generator", sites)


def option_values(sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
    """Slices up to the widest site, codes of which the largest are those of the paper."""
    widest = max(site.out_channels for site in sites)
    return {
        "slice_size": tuple(size for size in (2, 4, 8, 12, 16, 32) if size <= widest),
        "code_size": (4, 8, 16, 32, 72, 128),
    }


def macs(sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
    """Those of the unshared layers: in evaluation the kernels are generated once."""
    return [site.kernel_parameters for site in sites]


def stored_bytes(sites: Sequence[Site], options: Mapping[str, Any]) -> int:
    """The generator, frozen or not, and what is trained; kernels are made, not saved."""
    return FLOAT_BYTES * counts.slice_generator(sites, {**options, "generator": "trained"})


def activation_elements(
    sites: Sequence[Site], options: Mapping[str, Any]
) -> list[ActivationElements]:
    """As unshared: kernels do not depend on the image."""
    return [ActivationElements() for _ in sites]


def held(sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
    """The kernels as they are once generated, one for each site."""
    return Held().plus(*map(own_site, sites, uses))


def share(network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Replace the kernels by one generator and the codes of each site."""
    first: Any = network.get_submodule(sites[0].name)
    size, code = options["slice_size"], options["code_size"]
    elements = size * size * prod(sites[0].kernel_size)
    generator = nn.Parameter(
        first.weight.new_empty(elements, code),
        requires_grad=options["generator"] == "trained",
    )
    with torch.no_grad():
        nn.init.normal_(generator, std=1 / sqrt(code))
        if options["generator"] == "binary":
            generator.copy_(torch.where(generator > 0, 0.5, -0.5))
    scale = 0.5 * sqrt(code) if options["generator"] == "binary" else 1.0
    for site in sites:
        _become(network.get_submodule(site.name), site, generator, size, scale)


def project(
    network: nn.Module,
    sites: Sequence[Site],
    options: Mapping[str, Any],
    kernels: Sequence[Tensor],
    importance: Sequence[Tensor],
) -> list[Tensor]:
    """A truncated singular value decomposition of the slices of all kernels; where the generator
    is frozen, the codes that come closest.
    """
    hosts: list[Any] = [network.get_submodule(site.name) for site in sites]
    generator: nn.Parameter = hosts[0].generator
    norms = [kernel.norm().clamp_min(1e-12) for kernel in kernels]
    cut = [
        host.cut(as_kernel(host, kernel / norm)).double()
        for host, kernel, norm in zip(hosts, kernels, norms, strict=True)
    ]
    if generator.requires_grad:
        elements, code = generator.shape
        vectors = principal(torch.cat(cut)[None], code)[0]
        scaled = (vectors * sqrt(elements / code)).mT  # the variance of a fresh generator
        with torch.no_grad():
            generator.zero_()[:, : scaled.shape[1]] = scaled.to(generator.dtype)
    inverse = torch.linalg.pinv(generator.detach().double()).mT
    for host, rows, norm in zip(hosts, cut, norms, strict=True):
        with torch.no_grad():
            host.codes.copy_(rows @ inverse * norm)
    return [host.dense()[0].detach() for host in hosts]


def to_dense(conv: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The generated kernel."""
    assert isinstance(conv, SliceGenerated), "made by share"
    return conv.dense()


def deploy(host: nn.Module) -> None:
    """Nothing to do: runtimes generate the kernel once, when they load it."""


def norms_to_calibrate(network: nn.Module) -> list[_BatchNorm]:
    """None."""
    return []


def extra_loss(network: nn.Module, sites: Collection[str] | None = None) -> Tensor | None:
    """None."""
    return None


def reuse_generators(network: nn.Module, source: nn.Module) -> None:
    """Copy the generators of ``source`` into ``network``, in the order of their first sites.

    For plans with ``generator="reused"``: ``source`` was trained, ``network`` trains only codes.
    Raises PlanError if they do not have the same generators.
    """
    into, out_of = _generators(network), _generators(source)
    if [tensor.shape for tensor in into] != [tensor.shape for tensor in out_of]:
        raise PlanError(
            "generators can be reused where slice, kernel and code size are the same: the network "
            f"has {[tuple(t.shape) for t in into]}, the source {[tuple(t.shape) for t in out_of]}"
        )
    with torch.no_grad():
        for tensor, given in zip(into, out_of, strict=True):
            tensor.copy_(given)


def _generators(network: nn.Module) -> list[Tensor]:
    hosts = (part for part in network.modules() if isinstance(part, SliceGenerated))
    return list({id(host.generator): host.generator for host in hosts}.values())


def _become(conv: Any, site: Site, generator: nn.Parameter, size: int, scale: float) -> None:
    """Turn a layer into a ``SliceGenerated``; its place and its hooks stay.

    scale: the standard deviation of a kernel's elements when those of the codes have 1.
    """
    weight = conv.weight
    fan_out = site.kernel_parameters // (site.in_channels // site.groups)
    codes = weight.new_empty(counts.slices(site, size), generator.shape[1])
    nn.init.normal_(codes, std=sqrt(2 / fan_out) / scale)
    shape = tuple(as_kernel(conv, weight).shape)
    become_computed(conv, SliceGenerated, site.name)
    conv.generator = generator
    conv.codes = nn.Parameter(codes)
    conv.slice_size, conv.shape = size, shape


def _up(channels: int, size: int) -> int:
    """The next multiple of ``size``."""
    return ceil(channels / size) * size
