"""The layers that can be sites: how they store a kernel, and how they compute with another one.

A *kernel* is (out, in/groups, *kernel size) whatever the layer: that of a linear layer is its
weight (out, in), and only a transposed convolution stores it otherwise, (in, out/groups, ...).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn, strided
from torch.nn import functional

if TYPE_CHECKING:
    from isoshare.space.sites import Kind

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


class RowBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the last dimension, whatever stands before it."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., features)."""
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


NORMS = (RowBatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""By the dimensions of the convolution, none for a linear layer."""
BACKWARD: tuple[Any, ...] = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def kind_of(layer: nn.Module) -> Kind:
    """What kind of site a layer is."""
    if isinstance(layer, nn.Linear):
        return "linear"
    return "transposed" if isinstance(layer, TRANSPOSED) else "convolution"


def class_of(layer: nn.Module) -> type[nn.Module]:
    """The class of PyTorch's of which a layer is one."""
    return next(kind for kind in LAYERS if isinstance(layer, kind))


def dimensions(layer: nn.Module) -> int:
    """Of a convolution; 0 of a linear layer."""
    return 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)  # type: ignore[arg-type]


def groups_of(layer: nn.Module) -> int:
    """In how many groups a layer computes."""
    groups: int = getattr(layer, "groups", 1)
    return groups


def why_unusual(layer: Any) -> str:
    """Why the weight of a layer is no kernel of numbers in memory, of the shape that the layer has;
    "" if it is.
    """
    if isinstance(getattr(type(layer), "weight", None), property):
        return "its kernel is computed from other tensors"
    weight, groups = layer.weight, groups_of(layer)
    if weight.layout is not strided:
        return f"its kernel is stored as {weight.layout}"
    if not weight.numel():
        return "its kernel has no elements"
    shape = tuple(weight.shape)
    if isinstance(layer, nn.Linear):
        usual = shape == (layer.out_features, layer.in_features)
    else:
        ends = (layer.out_channels, layer.in_channels)
        first, second = reversed(ends) if isinstance(layer, TRANSPOSED) else ends
        usual = shape == (first, second // groups, *layer.kernel_size)
    return "" if usual else f"its kernel has another shape than the layer says: {shape}"


def has_parts(layer: nn.Module) -> bool:
    """Whether a layer holds more than PyTorch's do, as a normalisation that its owner calls."""
    beside = layer._parameters.keys() - {"weight", "bias"}
    return bool(beside or layer._modules or layer._buffers)


def unlike_most(layers: Sequence[Any]) -> dict[int, str]:
    """By identity, layers whose numbers are of another type than those of most, or elsewhere, with
    the sentence that says so: one tensor cannot be both.
    """
    kinds = {id(one): (one.weight.dtype, one.weight.device) for one in layers}
    usual = next((kind for kind, _ in Counter(kinds.values()).most_common()), None)
    words = {kind: f"{kind[0]} on {kind[1]}" for kind in kinds.values()}
    return {
        one: f"its kernel is {words[kind]}, where most are {words[usual]}"
        for one, kind in kinds.items()
        if usual and kind != usual
    }


def as_kernel(layer: nn.Module, weight: Tensor) -> Tensor:
    """The kernel (out, in/groups, ...) that a weight of ``layer`` stores.

    Also the weight that stores a kernel: to swap channels twice is to leave them.
    """
    if not isinstance(layer, TRANSPOSED):
        return weight
    by_group = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1)


def run(
    layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None, output_size: Any = None
) -> Tensor:
    """What ``layer`` would give for ``x`` with another weight of any out-channels.

    output_size: what a transposed convolution may be called with.
    """
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, bias)
    if not isinstance(layer, TRANSPOSED):
        y: Tensor = layer._conv_forward(x, weight, bias)
        return y
    sides = dimensions(layer)
    places: list[Any] = [layer.stride, layer.padding, layer.kernel_size, sides, layer.dilation]
    padding = layer._output_padding(x, output_size, *places)
    how = (layer.stride, layer.padding, padding, layer.groups, layer.dilation)
    z: Tensor = BACKWARD[sides - 1](x, weight, bias, *how)
    return z


def pointwise(layer: nn.Module, in_channels: int, out_channels: int) -> Any:
    """A layer of 1x1 without a bias, in as many groups and dimensions as ``layer``."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(in_channels, out_channels, bias=False)
    make = CONVOLUTIONS[dimensions(layer) - 1]
    return make(in_channels, out_channels, 1, groups=groups_of(layer), bias=False)


def positions(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """How often ``layer`` has computed: at each position of its output (batch, channels, ...), or
    of the input of a transposed convolution.
    """
    if isinstance(layer, nn.Linear):
        return output.numel() // layer.out_features
    if isinstance(layer, TRANSPOSED):
        return inputs.numel() // layer.in_channels
    return output.numel() // output.shape[1]
