"""A quantised network on its way into a TFLite file: its tensors, and what operators share.

Dimensions are stored with channels last: in four dimensions as batch, height, width, channels, in
more with all that come between the batch and the positions at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isoshare.space.exports.quantised import LEAST, MOST, Quantised
from isoshare.space.exports.small_graph import Layer

if TYPE_CHECKING:
    from isoshare.space.exports.tflite.file import TfliteFile

SAME, VALID = 0, 1
NO_VOLUMES = "in three dimensions has no operator of 8 bits there"


def stored(dimensions: int) -> tuple[int, ...]:
    """The order in which the dimensions of torch stand in the file."""
    if dimensions < 4:
        return tuple(range(dimensions))
    return (0, dimensions - 2, dimensions - 1, *range(1, dimensions - 2))


def as_integers(images: Tensor, scale: float, zero: int) -> np.ndarray[Any, Any]:
    """Images (batch, channels, height, width) as the file takes them: int8, channels last.
    Sequences (batch, channels, length) are images of height one.
    """
    images = images[:, :, None] if images.dim() == 3 else images
    whole = (images / scale).round().add(zero).clamp(LEAST, MOST).to(torch.int8)
    return np.ascontiguousarray(whole.permute(stored(whole.dim())).numpy())


class Writer:
    """places: of the tensors of the graph, in the file. fast: give biases scales."""

    def __init__(self, quantised: Quantised, fast: bool = False) -> None:
        from isoshare.space.exports.tflite.file import TfliteFile

        self.quantised, self.shapes, self.fast = quantised, quantised.graph.shapes, fast
        self.file: TfliteFile = TfliteFile()
        self.places: dict[str, int] = {}
        graph = quantised.graph
        names = {graph.input: "images", graph.output: "logits"}
        for tensor in (graph.input, *(layer.output for layer in graph.layers)):
            self.places[tensor] = self.like(tensor, name=names.get(tensor, ""))

    def like(self, tensor: str, shape: Sequence[int] | None = None, name: str = "") -> int:
        """A tensor in the file with the steps of one of the graph, and its shape by default."""
        steps, sides = self.quantised.steps[tensor], self.shapes[tensor]
        order = shape or [sides[place] for place in stored(len(sides))]
        return self.file.tensor(order, None, (steps.scale, steps.zero), name)

    def constant(self, value: float) -> int:
        """One number that every number of another tensor meets."""
        return self.file.tensor((1,), np.array([127], np.int8), (value / 127, 0))

    def put(
        self, name: str, version: int, layer: Layer, inputs: Sequence[int] = (), **options: Any
    ) -> None:
        """An operator from ``inputs``, those of the layer by default, to its output."""
        inputs = inputs or [self.places[one] for one in layer.inputs]
        self.file.operator(name, version, inputs, self.places[layer.output], **options)

    def pad(
        self, source: str, pairs: Sequence[tuple[int, int]], end: int, least: bool = False
    ) -> None:
        """A tensor with more positions around it, of zero or the least number, into ``end``."""
        around = np.array([pairs[place] for place in stored(len(pairs))], np.int32)
        inputs = [self.places[source], self.file.tensor(around.shape, around)]
        if least:
            steps, content = self.quantised.steps[source], np.array([LEAST], np.int8)
            inputs.append(self.file.tensor((1,), content, (steps.scale, steps.zero)))
        self.file.operator("PADV2" if least else "PAD", 2, inputs, end)

    def window(self, layer: Layer, size: Sequence[int], least: bool = False) -> tuple[int, Any]:
        """The input of a layer that looks through windows, padded where TFLite pads otherwise, and
        the padding and strides. Raises ValueError for windows in three dimensions.
        """
        if len(size) != 2:
            raise ValueError(NO_VOLUMES)
        stride, padding = layer.options["stride"], layer.options["padding"]
        given = {"strideH": stride[0], "strideW": stride[1], "padding": VALID}
        source = layer.inputs[0]
        sides = self.shapes[source][2:]
        if not any(padding):
            return self.places[source], given
        if _pads_alike(layer, size, sides, self.shapes[layer.output][2:]):
            return self.places[source], {**given, "padding": SAME}
        wide = [side + 2 * one for side, one in zip(sides, padding, strict=True)]
        made = self.like(source, (1, *wide, self.shapes[source][1]))
        self.pad(source, [(0, 0), (0, 0), *((one, one) for one in padding)], made, least)
        return made, given


def _pads_alike(
    layer: Layer, size: Sequence[int], sides: Sequence[int], found: Sequence[int]
) -> bool:
    """Whether TFLite pads as torch does. sides, found: positions of input and output."""
    stride, padding = layer.options["stride"], layer.options["padding"]
    dilation = layer.options.get("dilation", (1, 1))
    for side, out, k, step, apart, pad in zip(
        sides, found, size, stride, dilation, padding, strict=True
    ):
        whole = max((out - 1) * step + apart * (k - 1) + 1 - side, 0)
        if out != -(-side // step) or whole // 2 != pad:
            return False
    return True
