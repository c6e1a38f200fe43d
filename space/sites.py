"""The sites of a network: its layers that can share weights, and which are isomorphic.

``Site`` is a plain value that outlives the network: searches, plan files and the database hold
sites where they must not hold torch. Only the readers of an ``nn.Module`` below import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from isoshare.space.type_checks import check_network, checked_sites

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["convolution", "transposed", "linear"]
Signature = tuple[tuple[int, ...], int, int, int, Kind]
WORTHWHILE = 0.05
"""The share of the parameters from which on a search decides on layers of another kind too."""
SCRIPTED = "scripted by torch.jit, so what it computes is fixed"


@dataclass(frozen=True)
class Site:
    """One layer of a backbone, named by its module path.

    kernel_size has one side for each dimension of a convolution, as (height, width), and none for a
    linear layer; in_channels and out_channels are the features of a linear layer, and otherwise
    count channels of the whole convolution, over all its groups. Stride, padding and dilation are
    not part of a site: they may differ between sites that share. bias: it has one that is trained;
    frozen_bias: it has one that is not. subclass: the layer is of a class derived from PyTorch's,
    or holds more than theirs, so that more may be done with it. is_complex: its kernel is complex.
    """

    name: str
    kernel_size: tuple[int, ...]
    in_channels: int
    out_channels: int
    groups: int = 1
    bias: bool = False
    subclass: bool = False
    frozen_bias: bool = False
    kind: Kind = "convolution"
    is_complex: bool = False

    @property
    def signature(self) -> Signature:
        """What isomorphic sites have in common."""
        return (self.kernel_size, self.in_channels, self.out_channels, self.groups, self.kind)

    @property
    def has_bias(self) -> bool:
        """Whether it has a bias, trained or frozen."""
        return self.bias or self.frozen_bias

    @property
    def is_image_convolution(self) -> bool:
        """Whether it is an ordinary two-dimensional convolution."""
        return self.kind == "convolution" and len(self.kernel_size) == 2

    @property
    def kernel_parameters(self) -> int:
        """Elements of the kernel ``out x in/groups x k x k``."""
        area = 1
        for side in self.kernel_size:
            area *= side
        return self.out_channels * self.in_channels // self.groups * area

    @property
    def parameters(self) -> int:
        """Trainable parameters of the unshared layer, kernel and bias."""
        return self.kernel_parameters + (self.out_channels if self.bias else 0)


def describe_signature(signature: Signature) -> str:
    """A shape in words, such as ``16→32 3x3``, ``32→32 3x3 in 32 groups`` or ``8→16 linear``."""
    kernel_size, in_channels, out_channels, groups, kind = signature
    grouped = f" in {groups} groups" if groups > 1 else ""
    size = "x".join(map(str, kernel_size))
    size += " (1-D)" if len(kernel_size) == 1 else ""
    words = " ".join(filter(None, (size, kind if kind != "convolution" else "")))
    return f"{in_channels}→{out_channels} {words}{grouped}"


def describe(site: Site) -> str:
    """A site in words for messages: ``layer1.0.conv1 is 16→16 3x3``."""
    return f"{site.name} is {describe_signature(site.signature)}"


def find_sites(module: nn.Module) -> tuple[Site, ...]:
    """The layers of ``module`` that a plan may name, in module order.

    A site is a linear layer or a convolution, of one to three dimensions, transposed or not, that
    owns an ordinary trainable kernel. What is left out, and why, ``left_private`` says.
    """
    return sites_and_private(module)[0]


def left_private(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """The layers of ``module`` with weights that cannot share, each with its reason."""
    return tuple(sites_and_private(module)[1].items())


def sites_and_private(module: nn.Module) -> tuple[tuple[Site, ...], dict[str, str]]:
    """Both: the sites, and by name why layers cannot share. Raises BackboneError for no module."""
    from isoshare.space.layers import unlike_most

    check_network(module)
    layers = list(_layers(module))
    unlike = unlike_most([layer for _, layer, reason in layers if not reason])
    private = {name: reason or unlike.get(id(one), "") for name, one, reason in layers}
    sites = tuple(_site(name, layer) for name, layer, _ in layers if not private[name])
    return sites, {name: reason for name, reason in private.items() if reason}


def searched_sites(sites: Sequence[Site], unshared: int) -> tuple[Site, ...]:
    """The sites that searches decide on: two-dimensional convolutions, all of them; layers of other
    kinds where they have isomorphic counterparts, if those together hold at least ``WORTHWHILE`` of
    the parameters.

    So the classifier of a network for images, and its squeeze-excitation, stay what they are.

    unshared: trainable parameters of the network. The order stays.
    """
    grouped = {site.name for group in isomorphic_groups(sites) for site in group}
    others = [site for site in sites if site.name in grouped and not site.is_image_convolution]
    worthwhile = sum(site.parameters for site in others) >= WORTHWHILE * unshared
    chosen = {site.name for site in others} if worthwhile else set()
    return tuple(site for site in sites if site.is_image_convolution or site.name in chosen)


def isomorphic_groups(sites: Sequence[Site]) -> tuple[tuple[Site, ...], ...]:
    """Two or more sites of one kind with equal shapes and groups, together.

    Groups come in the order of their first sites. A site with no counterpart is in no group: it
    has nobody to share a kernel with.
    """
    return tuple(group for group in shapes(sites) if len(group) > 1)


def shapes(sites: Sequence[Site]) -> tuple[tuple[Site, ...], ...]:
    """The sites of each shape together, single ones too, in the order of their first sites."""
    groups: dict[Signature, list[Site]] = {}
    for site in checked_sites(sites):
        groups.setdefault(site.signature, []).append(site)
    return tuple(tuple(group) for group in groups.values())


def registered_after(module: nn.Module, site: Site) -> nn.Module | None:
    """The module that is registered right after the layer of ``site``, beside it."""
    path, _, name = site.name.rpartition(".")
    children = list(module.get_submodule(path).named_children())
    place = [child for child, _ in children].index(name)
    return children[place + 1][1] if place + 1 < len(children) else None


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, layer, why it cannot share or "") for each layer with weights, in module order."""
    from torch import Tensor

    from isoshare.space.layers import LAYERS
    from isoshare.space.network_copy import held_values

    # Tensors in plain attributes, as in a list, and where.
    held = {id(one): place for place, one in held_values(module) if isinstance(one, Tensor)}
    inside = _inside(module)
    owners = Counter(
        id(tensor) for part in module.modules() for tensor in part._parameters.values()
    )
    for name, part in module.named_modules():
        if what := inside.get(id(part)) or _other_kind(part):
            yield name, part, what
        elif isinstance(part, LAYERS):
            yield name, part, _why_private(part, owners, held)


def _inside(module: nn.Module) -> dict[int, str]:
    """By identity, layers whose owner reads their weights and never calls them."""
    from torch import nn

    return {
        id(part.out_proj): "its attention reads the weight without calling it"
        for part in module.modules()
        if isinstance(part, nn.MultiheadAttention)
    }


def _other_kind(part: nn.Module) -> str:
    """Why a module with weights is of no kind that shares; "" if it has none, or is of one."""
    from torch import jit, nn

    if isinstance(part, jit.ScriptModule):
        layers = ("Conv", "Linear")
        scripted = part.original_name.startswith(layers) and not any(part.children())
        return f"{SCRIPTED}: share the network first, and script it then" if scripted else ""
    if isinstance(part, nn.MultiheadAttention):
        return "attention with packed weights: query, key and value are no layers of their own"
    if isinstance(part, nn.Embedding | nn.EmbeddingBag):
        return "an embedding: its rows belong to symbols, not to positions in a network"
    if isinstance(part, nn.RNNBase | nn.RNNCellBase):
        return "a recurrent cell: it shares its weights over time already"
    return ""


def _why_private(layer: nn.Module, owners: Counter[int], held: Mapping[int, str]) -> str:
    from torch import nn
    from torch.nn.utils import parametrize

    from isoshare.space.layers import why_unusual

    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "lazy: its shape is not known before the first forward pass"
    if parametrize.is_parametrized(layer) or layer._parameters.get("weight") is None:
        return "its kernel is computed from other tensors"
    if "bias" not in layer._parameters:
        return "its bias is computed from other tensors"
    return why_unusual(layer) or _why_not_its_own(layer, owners, held)


def _why_not_its_own(layer: nn.Module, owners: Counter[int], held: Mapping[int, str]) -> str:
    """Why other modules, or nobody, trains its tensors."""
    if not layer.weight.requires_grad:
        return "its kernel is frozen"
    for what, tensor in (("kernel", layer.weight), ("bias", layer.bias)):
        if tensor is not None and owners[id(tensor)] > 1:
            return f"its {what} is already tied to another module"
        if id(tensor) in held:
            return f"its {what} is held by attribute {held[id(tensor)]!r} too, which would keep it"
    return ""


def _site(name: str, layer: Any) -> Site:
    from isoshare.space.layers import LAYERS, has_parts, kind_of

    bias, linear = layer.bias, kind_of(layer) == "linear"
    return Site(
        name=name,
        kernel_size=() if linear else tuple(layer.kernel_size),
        in_channels=layer.in_features if linear else layer.in_channels,
        out_channels=layer.out_features if linear else layer.out_channels,
        groups=1 if linear else layer.groups,
        bias=bias is not None and bias.requires_grad,
        subclass=type(layer) not in LAYERS or has_parts(layer),
        frozen_bias=bias is not None and not bias.requires_grad,
        kind=kind_of(layer),
        is_complex=layer.weight.is_complex(),
    )
