"""What each kind of layer of a ``SmallGraph`` computes, and the graph on a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from isoshare.space.exports.small_graph import (
    CONVOLUTION,
    REQUANTISED,
    Layer,
    SmallGraph,
    across,
)

Watch = Callable[[str, Tensor], Tensor]
"""Takes the name of a tensor and the tensor; returns what goes on in its place."""


def run(
    graph: SmallGraph, images: Tensor, watch: Watch = lambda _, tensor: tensor, dtype: Any = None
) -> Tensor:
    """The output for images (batch, channels, height, width), computed in ``dtype``."""
    kernels = {name: kernel.to(dtype or torch.float32) for name, kernel in graph.kernels.items()}
    values = {graph.input: watch(graph.input, images.to(dtype or torch.float32))}
    last = {name: place for place, layer in enumerate(graph.layers) for name in layer.inputs}
    for place, layer in enumerate(graph.layers):
        made = compute(layer, [values[name] for name in layer.inputs], kernels, graph.shapes)
        values[layer.output] = watch(layer.output, made)
        for name in {name for name in layer.inputs if last[name] == place} - {graph.output}:
            del values[name]
    return values[graph.output]


def compute(
    layer: Layer,
    inputs: list[Tensor],
    kernels: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
) -> Tensor:
    """One layer; kernels and inputs in one dtype."""
    if layer.kind == CONVOLUTION:
        made = _convolve(layer, inputs[0], kernels[layer.kernel])
    elif layer.kind == "reshape":
        made = inputs[0].reshape(len(inputs[0]), *shapes[layer.output][1:])
    else:
        made = KINDS[layer.kind](inputs, layer.options)
    return made if (layer.low, layer.high) == OPEN else made.clamp(layer.low, layer.high)


OPEN = (float("-inf"), float("inf"))


def _convolve(layer: Layer, x: Tensor, kernel: Tensor) -> Tensor:
    assert layer.factor is not None, "of a convolution"
    assert layer.shift is not None, "of a convolution"
    convolve = (F.conv1d, F.conv2d, F.conv3d)[kernel.dim() - 3]
    factor, shift = (across(one.to(x.dtype), x.dim() - 1) for one in (layer.factor, layer.shift))
    return convolve(x, kernel, **layer.options) * factor + shift


def _slice(inputs: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    places = [slice(None)] * inputs[0].dim()
    places[options["dim"]] = slice(options["start"], options["end"], options["step"])
    return inputs[0][tuple(places)]


def _pad(inputs: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    return F.pad(inputs[0], [side for pair in reversed(options["pairs"]) for side in pair])


def _pool(*functions: Any) -> Callable[..., Tensor]:
    """functions: in one, two and three dimensions."""
    return lambda x, o: functions[x[0].dim() - 3](x[0], o["size"], o["stride"], o["padding"])


def _depth_to_space(inputs: list[Tensor], options: Mapping[str, Any]) -> Tensor:
    (x,), step = inputs, options["step"]
    split = x.reshape(len(x), step, step, -1, *x.shape[2:])
    moved = split.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(len(x), -1, x.shape[2] * step, x.shape[3] * step)


KINDS: dict[str, Callable[[list[Tensor], Mapping[str, Any]], Tensor]] = {
    REQUANTISED: lambda x, _: x[0],
    "relu": lambda x, _: F.relu(x[0]),
    "relu6": lambda x, _: F.relu6(x[0]),
    "hardswish": lambda x, _: F.hardswish(x[0]),
    "hardsigmoid": lambda x, _: F.hardsigmoid(x[0]),
    "sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "gelu": lambda x, o: F.gelu(x[0], approximate=o["approximate"]),
    "add": lambda x, _: x[0] + x[1],
    "mul": lambda x, _: x[0] * x[1],
    "concat": lambda x, o: torch.cat(x, o["dim"]),
    "mean": lambda x, _: x[0].mean(tuple(range(2, x[0].dim())), keepdim=True),
    "average_pool": _pool(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    "max_pool": _pool(F.max_pool1d, F.max_pool2d, F.max_pool3d),
    "slice": _slice,
    "pad": _pad,
    "transpose": lambda x, o: x[0].permute(o["order"]),
    "depth_to_space": _depth_to_space,
}
"""By kind: a function of the inputs and the options."""
