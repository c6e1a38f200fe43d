"""A network in 8 bits whose shared kernels stay one: after training, from images of its own.

Kernels have one scale an out-channel, symmetric; what a site multiplies its output by (its
normalisation above all) goes into the scale with which it reads the kernel, what it adds into an
int32 bias. Activations have one scale and zero point a tensor, from the least and greatest values
on real images (Jacob et al 2018, arXiv 1712.05877, section 3).

Scales have to be positive on most devices. A negative factor goes into the kernel where only one
convolution uses it; a row of a shared kernel is turned where most of its uses are negative. Where
uses disagree, ``signs`` puts a depthwise convolution of one position behind the site, by plus and
minus one.

The integers of a tensor end where its layer bounds it, so that no device has to bound anything:
what has the steps of a wider tensor gets steps of its own first, and is quantised twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isoshare.space.exports.arithmetic import run
from isoshare.space.exports.small_graph import (
    BOUNDS,
    CONVOLUTION,
    REQUANTISED,
    Layer,
    SmallGraph,
    across,
    pointwise_options,
)

LEAST, MOST = -128, 127
LARGEST_BIAS = 2**30
"""Sums of products come on top of it in 32 bits."""
UNCHANGED = (
    *("reshape", "slice", "pad", "transpose", "depth_to_space"),
    *("max_pool", "average_pool", "concat"),
)
"""Layers whose inputs and output have one scale."""
ENDS = {"sigmoid": (0.0, 255 / 256), "hardsigmoid": (0.0, 1.0)}
"""Of the output, whatever the images; those of the sigmoid are what TFLite asks for."""

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Steps:
    """real = scale x (integer - zero), integers from -128 to 127."""

    scale: float
    zero: int

    def rounded(self, tensor: Tensor) -> Tensor:
        """What is left of a tensor of real numbers."""
        return (self.integers(tensor) - self.zero) * self.scale

    def integers(self, tensor: Tensor) -> Tensor:
        """In the dtype of the tensor."""
        return whole(tensor / self.scale).add(self.zero).clamp(LEAST, MOST)


@dataclass(frozen=True)
class Quantised:
    """graph: its kernels are those that the integers stand for. steps: of each tensor. kernels:
    int8 (out, in/groups, sides...); scales: (out,), of each kernel.
    """

    graph: SmallGraph
    steps: Mapping[str, Steps]
    kernels: Mapping[str, Tensor]
    scales: Mapping[str, Tensor]

    def weight_scale(self, layer: Layer) -> Tensor:
        """(out,): with what a convolution reads its kernel; all positive."""
        assert layer.factor is not None, "of a convolution"
        assert layer.shift is not None, "of a convolution"
        scale = self.scales[layer.kernel] * layer.factor
        least = layer.shift.abs() / (self.steps[layer.inputs[0]].scale * LARGEST_BIAS)
        return scale.clamp_min(1e-12).maximum(least)

    def bias(self, layer: Layer) -> Tensor:
        """(out,) integers, of scale input times weight."""
        assert layer.shift is not None, "of a convolution"
        step = self.steps[layer.inputs[0]].scale * self.weight_scale(layer)
        return whole(layer.shift / step)

    def outputs(self, images: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """What devices compute, but for ties and the rounding of their multipliers: the reference
        of every file. images: (batch, channels, height, width).
        """
        return run(
            self.integers(),
            images,
            lambda name, tensor: self.steps[name].rounded(tensor),
            dtype,
        )

    def integers(self) -> SmallGraph:
        """The graph with integers for kernels, and the scales and biases of each use."""
        layers = [
            replace(layer, factor=self.weight_scale(layer), shift=self._shift(layer))
            if layer.kind == CONVOLUTION
            else layer
            for layer in self.graph.layers
        ]
        return replace(self.graph, layers=tuple(layers), kernels=self.kernels)

    def _shift(self, layer: Layer) -> Tensor:
        step = self.steps[layer.inputs[0]].scale * self.weight_scale(layer)
        return self.bias(layer) * step


def quantised(graph: SmallGraph, batches: Iterable[Tensor]) -> Quantised:
    """In 8 bits. batches: images as the network takes them, for the ranges of activations."""
    positive = signs(graph)
    ended, ranges = _ended(positive, _ranges(positive, batches))
    return with_steps(ended, _steps(_together(ended, ranges)))


def with_steps(graph: SmallGraph, steps: Mapping[str, Steps]) -> Quantised:
    """In 8 bits, by given steps; each kernel becomes integers once, whatever uses it has."""
    kernels, scales = {}, {}
    for name, kernel in graph.kernels.items():
        scales[name] = kernel.flatten(1).abs().amax(1).clamp_min(1e-12) / MOST
        kernels[name] = whole(kernel / across(scales[name], kernel.dim())).clamp(-MOST, MOST)
    return Quantised(graph, steps, kernels, scales)


def whole(x: Tensor) -> Tensor:
    """Rounded; gradients pass as if it were not (Bengio et al 2013, arXiv 1308.3432)."""
    return x + (x.round() - x).detach()


def _ranges(graph: SmallGraph, batches: Iterable[Tensor]) -> Ranges:
    """The least and greatest value of each tensor, and zero."""
    ranges: Ranges = {}

    def watch(name: str, tensor: Tensor) -> Tensor:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = (min(low, float(tensor.min())), max(high, float(tensor.max())))
        return tensor

    with torch.no_grad():
        for images in batches:
            run(graph, images, watch)
    return ranges | {one.output: ENDS[one.kind] for one in graph.layers if one.kind in ENDS}


def signs(graph: SmallGraph) -> SmallGraph:
    """The same graph without negative factors."""
    kernels, turned = dict(graph.kernels), {}
    for name, kernel in graph.kernels.items():
        uses = [layer.factor for layer in graph.layers if layer.kernel == name]
        negative = torch.stack([torch.sign(one) for one in uses if one is not None]).sum(0) < 0
        turned[name] = torch.where(negative, -1.0, 1.0).double()
        kernels[name] = kernel * across(turned[name], kernel.dim())
    layers: list[Layer] = []
    shapes = dict(graph.shapes)
    for layer in graph.layers:
        if layer.kind != CONVOLUTION:
            layers.append(layer)
            continue
        assert layer.factor is not None, "of a convolution"
        factor = layer.factor * turned[layer.kernel]
        made = replace(layer, factor=factor)
        layers += [made] if (factor >= 0).all() else _two(made, factor, kernels, shapes)
    return replace(graph, layers=tuple(layers), kernels=kernels, shapes=shapes)


def _two(
    layer: Layer, factor: Tensor, kernels: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]
) -> list[Layer]:
    """A convolution with positive factors, and one that turns the signs of channels."""
    assert layer.shift is not None, "of a convolution"
    sign = torch.where(factor < 0, -1.0, 1.0).double()
    name, between = f"{layer.output}.signs", f"{layer.output}.unsigned"
    shapes[between] = shapes[layer.output]
    dimensions = len(shapes[between])
    kernels[name] = across(sign, dimensions)
    open_ended = replace(layer, low=float("-inf"), high=float("inf"), output=between)
    first = replace(open_ended, factor=factor.abs(), shift=layer.shift * sign)
    second = replace(
        layer,
        inputs=(between,),
        kernel=name,
        options=pointwise_options(dimensions - 2, groups=len(sign)),
        factor=torch.ones_like(factor),
        shift=torch.zeros_like(factor),
    )
    return [first, second]


def _together(graph: SmallGraph, ranges: Ranges) -> Ranges:
    """One range for all tensors between which numbers only move."""
    together: dict[str, set[str]] = {name: {name} for name in ranges}
    for layer in graph.layers:
        if layer.kind in UNCHANGED:
            union = set().union(*(together[name] for name in (*layer.inputs, layer.output)))
            together |= dict.fromkeys(union, union)
    return {
        name: (min(ranges[one][0] for one in group), max(ranges[one][1] for one in group))
        for name, group in together.items()
    }


def _ended(graph: SmallGraph, ranges: Ranges) -> tuple[SmallGraph, Ranges]:
    """With steps of its own for what is bounded, where others with its steps are not."""
    wide, own, shapes = _together(graph, ranges), dict(ranges), dict(graph.shapes)
    layers: list[Layer] = []
    for layer in graph.layers:
        low, high = (BOUNDS | ENDS).get(layer.kind, (layer.low, layer.high))
        if low <= wide[layer.output][0] and wide[layer.output][1] <= high:
            layers.append(layer)
            continue
        name = f"{layer.output}.bounded"
        own[name], shapes[name] = ranges[layer.output], shapes[layer.output]
        again = Layer(REQUANTISED, (name,), layer.output, layer.where)
        layers += [replace(layer, output=name), again]
    return replace(graph, layers=tuple(layers), shapes=shapes), own


def _steps(ranges: Ranges) -> dict[str, Steps]:
    found = {}
    for name, (low, high) in ranges.items():
        scale = max(high - low, 1e-8) / (MOST - LEAST)
        found[name] = Steps(scale, LEAST - round(low / scale))
    return found
