"""Networks of sequences as networks of images of height one: TFLite convolves nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from isoshare.space.exports.quantised import Quantised
from isoshare.space.exports.small_graph import Layer

ONE_LONG = {"stride": 1, "dilation": 1, "size": 1, "padding": 0}
"""Options of windows, and what they are along the height."""


def as_images(made: Quantised) -> Quantised:
    """The same network, in which (batch, channels, length) is (batch, channels, 1, length)."""
    graph = made.graph
    layers = tuple(_layer(layer, graph.shapes) for layer in graph.layers)
    shapes = {name: _higher(shape) for name, shape in graph.shapes.items()}
    kernels = {name: _kernel(kernel) for name, kernel in graph.kernels.items()}
    higher = replace(graph, layers=layers, shapes=shapes, kernels=kernels)
    integers = {name: _kernel(kernel) for name, kernel in made.kernels.items()}
    return replace(made, graph=higher, kernels=integers)


def _higher(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], 1, shape[2]) if len(shape) == 3 else shape


def _kernel(kernel: Tensor) -> Tensor:
    return kernel[:, :, None] if kernel.dim() == 3 else kernel


def _layer(layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    """With its options for one dimension more, if its input is a sequence."""
    if len(shapes[layer.inputs[0]]) != 3:
        return layer
    options: dict[str, Any] = dict(layer.options)
    for name, along in ONE_LONG.items():
        if name in options:
            options[name] = (along, *options[name])
    if "dim" in options:
        options["dim"] = _moved(options["dim"])
    if "pairs" in options:
        options["pairs"] = (*options["pairs"][:2], (0, 0), options["pairs"][2])
    if "order" in options:
        order = [_moved(place) for place in options["order"]]
        options["order"] = (*order[:2], 2, order[2])
    return replace(layer, options=options)


def _moved(dim: int) -> int:
    """Where a dimension of a sequence is in an image."""
    return 3 if dim == 2 else dim
