"""What has been read of a network so far, on the way to a ``SmallGraph``."""

from __future__ import annotations

from typing import Any

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
        self._named: dict[int, str] = {}

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

    def kernel(self, weight: Tensor, shape: tuple[int, ...]) -> str:
        """The name of a kernel; one tensor has one."""
        name = self._named.setdefault(weight.data_ptr(), f"kernel_{len(self._named)}")
        self.kernels[name] = weight.double().reshape(shape)
        return name


def where_of(node: Node) -> str:
    """The path of the module in whose forward a node was traced."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""
