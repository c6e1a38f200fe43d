"""The sites of a network: its convolutions that can share weights, and which are isomorphic.

``Site`` is a plain value that outlives the network: searches, plan files and the database hold
sites where they must not hold torch. Only the readers of an ``nn.Module`` below import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Signature = tuple[tuple[int, ...], int, int, int]
SCRIPTED = "scripted by torch.jit, so what it computes is fixed"


@dataclass(frozen=True)
class Site:
    """One convolution of a backbone, named by its module path.

    kernel_size is (height, width); in_channels and out_channels count channels of the whole
    convolution, over all its groups. Stride, padding and dilation are not part of a site: they
    may differ between sites that share. bias: it has one that is trained; frozen_bias: it has one
    that is not. subclass: the convolution is of a class derived from ``nn.Conv2d``, so that its
    forward may do more than convolve.
    """

    name: str
    kernel_size: tuple[int, ...]
    in_channels: int
    out_channels: int
    groups: int = 1
    bias: bool = False
    subclass: bool = False
    frozen_bias: bool = False

    @property
    def signature(self) -> Signature:
        """What isomorphic sites have in common."""
        return (self.kernel_size, self.in_channels, self.out_channels, self.groups)

    @property
    def kernel_parameters(self) -> int:
        """Elements of the kernel ``out x in/groups x k x k``."""
        area = 1
        for side in self.kernel_size:
            area *= side
        return self.out_channels * self.in_channels // self.groups * area

    @property
    def parameters(self) -> int:
        """Trainable parameters of the unshared convolution, kernel and bias."""
        return self.kernel_parameters + (self.out_channels if self.bias else 0)


def describe_signature(signature: Signature) -> str:
    """A shape in words, such as ``16→32 3x3`` or ``32→32 3x3 in 32 groups``."""
    kernel_size, in_channels, out_channels, groups = signature
    grouped = f" in {groups} groups" if groups > 1 else ""
    return f"{in_channels}→{out_channels} {'x'.join(map(str, kernel_size))}{grouped}"


def describe(site: Site) -> str:
    """A site in words for messages: ``layer1.0.conv1 is 16→16 3x3``."""
    return f"{site.name} is {describe_signature(site.signature)}"


def find_sites(module: nn.Module) -> tuple[Site, ...]:
    """The convolutions of ``module`` that a plan may name, in module order.

    A site is a two-dimensional convolution that owns an ordinary trainable kernel. What is left
    out, and why, ``left_private`` says.
    """
    return tuple(_site(name, conv) for name, conv, reason in _convolutions(module) if not reason)


def left_private(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """The convolutions of ``module`` that cannot share, each with its reason."""
    return tuple((name, reason) for name, _, reason in _convolutions(module) if reason)


def isomorphic_groups(sites: Sequence[Site]) -> tuple[tuple[Site, ...], ...]:
    """Two or more sites of equal kernel size, in-channels, out-channels and groups, together.

    Groups come in the order of their first sites. A site with no counterpart is in no group: it
    has nobody to share a kernel with.
    """
    return tuple(group for group in shapes(sites) if len(group) > 1)


def shapes(sites: Sequence[Site]) -> tuple[tuple[Site, ...], ...]:
    """The sites of each shape together, single ones too, in the order of their first sites."""
    groups: dict[Signature, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.signature, []).append(site)
    return tuple(tuple(group) for group in groups.values())


def registered_after(module: nn.Module, site: Site) -> nn.Module | None:
    """The module that is registered right after the convolution of ``site``, beside it."""
    path, _, name = site.name.rpartition(".")
    children = list(module.get_submodule(path).named_children())
    place = [child for child, _ in children].index(name)
    return children[place + 1][1] if place + 1 < len(children) else None


def held_tensors(module: nn.Module) -> dict[int, str]:
    """By identity, the tensors that modules hold in plain attributes, as in a list, and where."""
    from torch import Tensor

    from isoshare.space.network_copy import held_values

    return {id(held): place for place, held in held_values(module) if isinstance(held, Tensor)}


def _convolutions(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, convolution, why it cannot share or "") for each convolution, in module order."""
    from torch import jit
    from torch.nn.modules.conv import _ConvNd

    held = held_tensors(module)
    owners = Counter(
        id(tensor) for part in module.modules() for tensor in part._parameters.values()
    )
    for name, part in module.named_modules():
        if isinstance(part, _ConvNd):
            yield name, part, _why_private(part, owners, held)
        elif isinstance(part, jit.ScriptModule) and part.original_name.startswith("Conv"):
            yield name, part, f"{SCRIPTED}: share the network first, and script it then"


def _why_private(conv: nn.Module, owners: Counter[int], held: Mapping[int, str]) -> str:
    from torch import nn
    from torch.nn.utils import parametrize

    if not isinstance(conv, nn.Conv2d):
        return f"{type(conv).__name__}: only two-dimensional convolutions share"
    if isinstance(conv, nn.modules.lazy.LazyModuleMixin):
        return "lazy: its shape is not known before the first forward pass"
    if parametrize.is_parametrized(conv) or conv._parameters.get("weight") is None:
        return "its kernel is computed from other tensors"
    if "bias" not in conv._parameters:
        return "its bias is computed from other tensors"
    return _why_not_its_own(conv, owners, held)


def _why_not_its_own(conv: nn.Module, owners: Counter[int], held: Mapping[int, str]) -> str:
    """Why other modules, or nobody, trains its tensors."""
    if not conv.weight.requires_grad:
        return "its kernel is frozen"
    for what, tensor in (("kernel", conv.weight), ("bias", conv.bias)):
        if tensor is not None and owners[id(tensor)] > 1:
            return f"its {what} is already tied to another module"
        if id(tensor) in held:
            return f"its {what} is held by attribute {held[id(tensor)]!r} too, which would keep it"
    return ""


def _site(name: str, conv: nn.Module) -> Site:
    from torch import nn

    assert isinstance(conv, nn.Conv2d)
    return Site(
        name=name,
        kernel_size=tuple(conv.kernel_size),
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        groups=conv.groups,
        bias=conv.bias is not None and conv.bias.requires_grad,
        subclass=type(conv) is not nn.Conv2d,
        frozen_bias=conv.bias is not None and not conv.bias.requires_grad,
    )
