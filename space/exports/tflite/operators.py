"""What each kind of layer becomes in a TFLite file, one function each.

A function takes the writer and the layer, and adds operators. It raises ValueError for what has no
counterpart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from isoshare.space.exports.quantised import LEAST, MOST
from isoshare.space.exports.small_graph import CONVOLUTION, REQUANTISED, Layer
from isoshare.space.exports.tflite.writer import NO_VOLUMES, Writer, stored

Write = Callable[[Writer, Layer], None]
MOST_ADDED = 2**15 - 1
"""Steps of an output that a sum may be far from zero in LiteRT."""


def _convolution(writer: Writer, layer: Layer) -> None:
    quantised, options = writer.quantised, layer.options
    kernel = quantised.kernels[layer.kernel].to(torch.int8)
    place, given = writer.window(layer, kernel.shape[2:])
    depthwise = options["groups"] == writer.shapes[layer.inputs[0]][1] > 1
    order, channels = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    content = np.ascontiguousarray(kernel.permute(order).numpy())
    scale = quantised.weight_scale(layer).numpy()
    weight = writer.file.tensor(content.shape, content, (scale, 0), channels=channels)
    bias = quantised.bias(layer).numpy().astype(np.int32)
    given |= dict(zip(("dilationHFactor", "dilationWFactor"), options["dilation"], strict=True))
    step = quantised.steps[layer.inputs[0]].scale * scale
    inputs = [
        place,
        weight,
        writer.file.tensor(bias.shape, bias, (step, 0) if writer.fast else None),
    ]
    if depthwise:
        given["depthMultiplier"] = len(kernel) // options["groups"]
        writer.put("DEPTHWISE_CONV_2D", 3, layer, inputs, of="DepthwiseConv2DOptions", **given)
    else:
        writer.put("CONV_2D", 3, layer, inputs, of="Conv2DOptions", **given)


def _plain(name: str, version: int, of: str = "", **options: Any) -> Write:
    """An operator without more inputs or options of the layer."""
    return lambda writer, layer: writer.put(name, version, layer, of=of, **options)


def _both(name: str, of: str) -> Write:
    """Of two tensors."""

    def write(writer: Writer, layer: Layer) -> None:
        if len({len(writer.shapes[one]) for one in layer.inputs}) > 1:
            raise ValueError("of tensors of several dimensions")
        writer.put(name, 2, layer, of=of)

    return write


def _hard_sigmoid(writer: Writer, layer: Layer) -> None:
    """x + 3 in the steps of 0 to 6, which bound it, then the same integers for 0 to 1.

    Between -3 and 3 first where x may be wider: LiteRT adds in 16 bits, which wrap.
    """
    sides, start = writer.shapes[layer.output], layer.inputs[0]
    shape = [sides[one] for one in stored(len(sides))]
    place, steps = writer.places[start], writer.quantised.steps[start]
    if steps.scale * (MOST - LEAST) + 3 > 6 / 255 * MOST_ADDED:
        place = writer.file.tensor(shape, None, (6 / 254, 0))
        writer.file.operator("QUANTIZE", 1, [writer.places[start]], place)
    six = writer.file.tensor(shape, None, (6 / 255, LEAST))
    writer.file.operator("ADD", 2, [place, writer.constant(3)], six, of="AddOptions")
    writer.put("MUL", 2, layer, [six, writer.constant(1 / 6)], of="MulOptions")


def _pool(name: str, least: bool) -> Write:
    def write(writer: Writer, layer: Layer) -> None:
        size = layer.options["size"]
        place, given = writer.window(layer, size, least)
        given |= {"filterHeight": size[0], "filterWidth": size[1]}
        writer.put(name, 2, layer, [place], of="Pool2DOptions", **given)

    return write


def _mean(writer: Writer, layer: Layer) -> None:
    if len(writer.shapes[layer.inputs[0]]) != 4:
        raise ValueError(NO_VOLUMES)
    inputs = [writer.places[layer.inputs[0]], writer.file.numbers(1, 2)]
    writer.put("MEAN", 2, layer, inputs, of="ReducerOptions", keepDims=True)


def _concat(writer: Writer, layer: Layer) -> None:
    dim = layer.options["dim"]
    axis = stored(len(writer.shapes[layer.output])).index(dim)
    writer.put("CONCATENATION", 2, layer, of="ConcatenationOptions", axis=axis)


def _reshape(writer: Writer, layer: Layer) -> None:
    """Over the order of torch, where the numbers stand otherwise in the file."""
    before, after = writer.shapes[layer.inputs[0]], writer.shapes[layer.output]
    place, end = writer.places[layer.inputs[0]], writer.places[layer.output]
    alike = len(before) > 3 < len(after) and before[-2:] == after[-2:]
    if _moves(before) and not alike:
        back = np.argsort(stored(len(before)))
        start, place = place, writer.like(layer.inputs[0], before)
        _transposed(writer, start, place, back.tolist())
    if _moves(after) and not alike:
        flat = writer.like(layer.output, after)
        _reshaped(writer, place, flat, after)
        _transposed(writer, flat, end, stored(len(after)))
    else:
        _reshaped(writer, place, end, [after[one] for one in stored(len(after))])


def _moves(shape: Sequence[int]) -> bool:
    """Whether the numbers of a tensor stand in another order in the file than in torch."""
    order = [place for place in stored(len(shape)) if shape[place] > 1]
    return order != sorted(order)


def _reshaped(writer: Writer, start: int, end: int, shape: Sequence[int]) -> None:
    inputs = [start, writer.file.numbers(*shape)]
    writer.file.operator("RESHAPE", 1, inputs, end, of="ReshapeOptions", newShape=list(shape))


def _transposed(writer: Writer, start: int, end: int, order: Sequence[int]) -> None:
    inputs = [start, writer.file.numbers(*order)]
    writer.file.operator("TRANSPOSE", 2, inputs, end, of="TransposeOptions")


def _transpose(writer: Writer, layer: Layer) -> None:
    order = layer.options["order"]
    places = stored(len(order))
    moved = [places.index(order[place]) for place in places]
    _transposed(writer, writer.places[layer.inputs[0]], writer.places[layer.output], moved)


def _slice(writer: Writer, layer: Layer) -> None:
    sides, options = writer.shapes[layer.inputs[0]], layer.options
    starts, ends, steps = [0] * len(sides), list(sides), [1] * len(sides)
    dim = options["dim"]
    starts[dim], ends[dim], steps[dim] = options["start"], options["end"], options["step"]
    inputs = [writer.places[layer.inputs[0]]]
    for every in (starts, ends, steps):
        inputs.append(writer.file.numbers(*(every[place] for place in stored(len(sides)))))
    writer.put("STRIDED_SLICE", 2, layer, inputs, of="StridedSliceOptions")


def _pad(writer: Writer, layer: Layer) -> None:
    pairs = layer.options["pairs"]
    if min(min(pair) for pair in pairs) < 0:
        raise ValueError("by a negative number")
    writer.pad(layer.inputs[0], pairs, writer.places[layer.output])


WRITERS: dict[str, Write] = {
    CONVOLUTION: _convolution,
    REQUANTISED: _plain("QUANTIZE", 1),
    "relu": _plain("RELU", 2),
    "relu6": _plain("RELU6", 2),
    "hardswish": _plain("HARD_SWISH", 1),
    "hardsigmoid": _hard_sigmoid,
    "sigmoid": _plain("LOGISTIC", 2),
    "gelu": lambda writer, layer: writer.put(
        "GELU", 2, layer, of="GeluOptions", approximate=layer.options["approximate"] == "tanh"
    ),
    "add": _both("ADD", "AddOptions"),
    "mul": _both("MUL", "MulOptions"),
    "concat": _concat,
    "mean": _mean,
    "average_pool": _pool("AVERAGE_POOL_2D", least=False),
    "max_pool": _pool("MAX_POOL_2D", least=True),
    "reshape": _reshape,
    "slice": _slice,
    "pad": _pad,
    "transpose": _transpose,
    "depth_to_space": lambda writer, layer: writer.put(
        "DEPTH_TO_SPACE", 1, layer, of="DepthToSpaceOptions", blockSize=layer.options["step"]
    ),
}
"""By kind: a function that adds the operators."""
