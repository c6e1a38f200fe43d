"""What has been read of a network so far, on the way to a ``SmallGraph``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from isoshare.space.exports.small_graph import Layer, SmallGraph


class Parts(tuple[str, ...]):
    """Several tensors of one node."""


class Trace:
    """kernels: by name. layers: in the order of computation. shapes: of the tensors between them,
    of a batch of one.
    """

    def __init__(self) -> None:
        self.kernels: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._named: dict[tuple[int, ...], str] = {}

    def graph(self, start: str, end: str) -> SmallGraph:
        """All layers, from the tensor ``start`` to the tensor ``end``."""
        return SmallGraph(tuple(self.layers), self.kernels, self.shapes, start, end)

    def add(self, node: Node, kind: str, inputs: tuple[Any, ...], **given: Any) -> str:
        """Append a layer of which ``node`` is the output. Raises ValueError for constant inputs."""
        if not all(isinstance(one, str) for one in inputs):
            raise ValueError(f"{kind} of constants")
        output = given.pop("output", node.name)
        self.shapes[output] = tuple(given.pop("shape", None) or node.meta["val"].shape)
        self.layers.append(Layer(kind, inputs, output, where_of(node), **given))
        return str(output)

    def kernel(
        self,
        weight: Tensor,
        shape: tuple[int, ...],
        made: Callable[[Tensor], Tensor] = lambda weight: weight,
        by: tuple[int, ...] = (),
    ) -> str:
        """The name of a kernel; one tensor has one.

        made: what is computed of the weight, one for each ``by``.
        """
        key = (weight.data_ptr(), *by)
        name = self._named.setdefault(key, f"kernel_{len(self._named)}")
        self.kernels[name] = made(weight.double()).reshape(shape)
        return name


def where_of(node: Node) -> str:
    """The path of the module in whose forward a node was traced."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def sides_of(value: Any, count: int) -> tuple[int, ...]:
    """One number for each side."""
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    return found * count if len(found) == 1 else found


def affine(channels: int, bias: Tensor | None) -> dict[str, Tensor]:
    """Factor and shift of a convolution with a bias, or without."""
    ones = torch.ones(channels, dtype=torch.float64)
    return {"factor": ones, "shift": torch.zeros_like(ones) if bias is None else bias.double()}
