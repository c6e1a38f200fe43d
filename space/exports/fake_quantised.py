"""A network in 8 bits that goes on learning, with what its integers lose in view.

Quantisation-aware training: Jacob et al 2018, arXiv 1712.05877, section 3. Kernels, factors and
shifts are real numbers while it learns; each pass makes integers of them by the very functions
that make those of a file, so a shared kernel is rounded once and hears of all of its uses. The
steps of tensors between layers stay as images have set them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from isoshare.space.exports.quantised import Quantised, with_steps
from isoshare.space.exports.small_graph import Layer, SmallGraph


class FakeQuantised(nn.Module):
    """Computes what the file computes; its parameters can be trained."""

    def __init__(self, start: Quantised) -> None:
        super().__init__()
        self._start = start
        graph = start.graph
        self.kernels = _learnt(graph.kernels.values())
        used = [layer for layer in graph.layers if layer.kernel]
        self.factors = _learnt(layer.factor for layer in used)
        self.shifts = _learnt(layer.shift for layer in used)

    def forward(self, images: Tensor) -> Tensor:
        """The logits of images (batch, channels, height, width)."""
        return self.quantised().outputs(images, torch.float32)

    def quantised(self) -> Quantised:
        """As it stands now; gradients of its outputs reach the parameters."""
        return with_steps(self._graph(), self._start.steps)

    def _graph(self) -> SmallGraph:
        """With what has been learnt."""
        graph = self._start.graph
        affine = zip(self.factors, self.shifts, strict=True)
        layers: list[Layer] = []
        for layer in graph.layers:
            learnt = layer
            if layer.kernel:
                factor, shift = (one.double() for one in next(affine))
                learnt = replace(layer, factor=factor, shift=shift)
            layers.append(learnt)
        kernels = (one.double() for one in self.kernels)
        named = dict(zip(graph.kernels, kernels, strict=True))
        return replace(graph, layers=tuple(layers), kernels=named)


def _learnt(tensors: Iterable[Tensor | None]) -> nn.ParameterList:
    return nn.ParameterList(one.float() for one in tensors if one is not None)
