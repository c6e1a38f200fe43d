"""A network as a list of few kinds of layers: what is quantised and written for small devices.

Convolutions and linear layers name their kernel, so that several can have one. A normalisation
right behind one becomes a factor and a shift of each out-channel, one elsewhere a depthwise
convolution of one position; ReLU and ReLU6 become bounds of the layer before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import Any

import torch
from torch import Tensor

CONVOLUTION = "convolution"
NORMALISATION = "normalisation"
REQUANTISED = "requantised"
"""The same numbers in other steps."""
BOUNDS = {"relu": (0.0, inf), "relu6": (0.0, 6.0)}
BOUNDED = (CONVOLUTION, "add")
"""What can bound its own output."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    where: the module that it came from. options: what the kind needs beside tensors. kernel: its
    name, of a convolution. factor, shift: (channels,), what its output is multiplied by and what is
    added then. low, high: bounds of the output.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    where: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    kernel: str = ""
    factor: Tensor | None = None
    shift: Tensor | None = None
    low: float = -inf
    high: float = inf


@dataclass(frozen=True)
class SmallGraph:
    """layers: in the order of computation. kernels: (out, in/groups, sides...), by name.
    shapes: of each tensor, of a batch of one.
    """

    layers: tuple[Layer, ...]
    kernels: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    input: str
    output: str

    @property
    def shared(self) -> set[str]:
        """The kernels that several convolutions use."""
        uses = Counter(layer.kernel for layer in self.layers if layer.kernel)
        return {name for name, count in uses.items() if count > 1}


def simplified(graph: SmallGraph) -> SmallGraph:
    """With normalisations and bounds in the layers before them, where nobody else sees these."""
    graph = _merge(_merge(_without_copies(graph), _normalised), _bounded)
    return _alone(graph)


def _without_copies(graph: SmallGraph) -> SmallGraph:
    """Without layers that do nothing in evaluation, such as dropout, or a reshape and its way back:
    what stands between a linear layer and its normalisation.
    """
    stands_for: dict[str, str] = {}
    reshaped: dict[str, str] = {}
    layers = []
    for layer in graph.layers:
        inputs = tuple(stands_for.get(name, name) for name in layer.inputs)
        if layer.kind == "reshape":
            inputs = (reshaped.get(inputs[0], inputs[0]),)
            reshaped[layer.output] = inputs[0]
        is_back = layer.kind == "reshape" and graph.shapes[inputs[0]] == graph.shapes[layer.output]
        if layer.kind == "identity" or is_back:
            stands_for[layer.output] = inputs[0]
        else:
            layers.append(replace(layer, inputs=inputs))
    output = stands_for.get(graph.output, graph.output)
    used = {output, *(name for layer in layers for name in layer.inputs)}
    kept = tuple(layer for layer in layers if layer.kind != "reshape" or layer.output in used)
    return replace(graph, layers=kept, output=output)


def _merge(graph: SmallGraph, joined: Any) -> SmallGraph:
    """joined: one layer that does what two do, or None. Those that merely move positions may stand
    between the two.
    """
    uses = Counter(name for layer in graph.layers for name in layer.inputs)
    uses[graph.output] += 1
    layers: dict[str, Layer] = {}
    for layer in graph.layers:
        moves: list[Layer] = []
        before = layers.get(layer.inputs[0])
        while before and _only_moves(before) and uses[before.output] == 1:
            moves.append(before)
            before = layers.get(before.inputs[0])
        merged = joined(before, _undone(layer, moves)) if before else None
        if before is None or merged is None or uses[before.output] > 1:
            layers[layer.output] = layer
        elif moves:
            layers[before.output] = replace(merged, output=before.output)
            del layers[moves[0].output]
            layers[layer.output] = replace(moves[0], output=layer.output)
        else:
            del layers[before.output]
            layers[layer.output] = replace(merged, output=layer.output)
    return replace(graph, layers=tuple(layers.values()))


def _only_moves(layer: Layer) -> bool:
    """Whether each number of an output channel is one of an input channel, whatever its place."""
    positions = layer.kind == "slice" and layer.options["dim"] > 1
    return positions or layer.kind == "depth_to_space"


def _undone(layer: Layer, moves: list[Layer]) -> Layer:
    """As it would be before these moves."""
    if layer.factor is None or layer.shift is None:
        return layer
    times = prod(move.options["step"] ** 2 for move in moves if move.kind == "depth_to_space")
    return replace(layer, factor=layer.factor.repeat(times), shift=layer.shift.repeat(times))


def _normalised(before: Layer, layer: Layer) -> Layer | None:
    if layer.kind != NORMALISATION or before.kind != CONVOLUTION:
        return None
    assert before.factor is not None, "of a convolution"
    assert before.shift is not None, "of a convolution"
    factor, shift = layer.factor, layer.shift
    assert factor is not None, "of a normalisation"
    assert shift is not None, "of a normalisation"
    return replace(before, factor=before.factor * factor, shift=before.shift * factor + shift)


def _bounded(before: Layer, layer: Layer) -> Layer | None:
    if layer.kind not in BOUNDS or before.kind not in BOUNDED:
        return None
    low, high = BOUNDS[layer.kind]
    return replace(before, low=max(before.low, low), high=min(before.high, high))


def _alone(graph: SmallGraph) -> SmallGraph:
    """Normalisations that stand alone as depthwise convolutions of 1x1."""
    kernels = dict(graph.kernels)
    layers = []
    for layer in graph.layers:
        if layer.kind == NORMALISATION:
            assert layer.factor is not None, "of a normalisation"
            name = f"{layer.output}.factor"
            sides = len(graph.shapes[layer.output]) - 2
            kernels[name] = across(layer.factor, sides + 2)
            options = pointwise_options(sides, groups=len(layer.factor))
            made = replace(layer, kind=CONVOLUTION, kernel=name, options=options)
            layer = replace(made, factor=torch.ones_like(layer.factor))  # noqa: PLW2901
        layers.append(layer)
    return replace(graph, layers=tuple(layers), kernels=kernels)


def convolution_options(
    stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> dict[str, Any]:
    """Of a convolution in as many dimensions as the tuples are long."""
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def pointwise_options(sides: int, groups: int = 1) -> dict[str, Any]:
    """Of a convolution of one position, in so many dimensions."""
    return convolution_options((1,) * sides, (0,) * sides, (1,) * sides, groups)


def across(vector: Tensor, dimensions: int) -> Tensor:
    """One number for each row of a kernel of so many dimensions."""
    return vector.view(-1, *[1] * (dimensions - 1))
