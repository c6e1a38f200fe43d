"""From a network to a ``SmallGraph``: traced by torch.export, then operator by operator.

What depends on no image is computed once, such as generated kernels. Layers of a kind that is not
known here are named, all at once, before anything is written.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from isoshare.space.errors import IsoshareError, in_one_line
from isoshare.space.exports.operators import OPERATORS
from isoshare.space.exports.small_graph import SmallGraph, simplified
from isoshare.space.exports.trace import Parts, Trace, where_of


class ConversionError(IsoshareError):
    """A network that cannot be converted for a device."""


def traced(network: nn.Module, image: Tensor) -> SmallGraph:
    """The graph of a network in evaluation, made of ordinary layers.

    image: (1, channels, height, width). Raises ConversionError that names the layers at fault.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's own deprecations
            program = torch.export.export(network.eval(), (image,)).run_decompositions({})
    except Exception as error:  # whatever the tracer says of the user's network
        reason = in_one_line(error)
        raise ConversionError(f"torch.export cannot trace this network: {reason}") from error
    return simplified(_Reader(program).read())


class _Reader:
    """values: of each node, its tensor if that is constant, or the name of one that depends on the
    image.
    """

    def __init__(self, program: Any) -> None:
        self.program = program
        self.trace = Trace()
        self.values: dict[Node, Any] = {}
        self.unknown: list[str] = []

    def read(self) -> SmallGraph:
        """Node by node."""
        constant = self._constants()
        start = end = ""
        for node in self.program.graph.nodes:
            if node.op == "output":
                (end,) = (self.values[one] for one in node.args[0])
            elif node.op == "call_function":
                self._call(node)
            elif node.name in constant:
                self.values[node] = constant[node.name].detach()
            else:
                self.values[node] = start = node.name
                self.trace.shapes[start] = tuple(node.meta["val"].shape)
        if self.unknown:
            raise ConversionError(
                f"these layers cannot be converted: {', '.join(self.unknown)}; express them in "
                "other layers, or export as onnx"
            )
        return self.trace.graph(start, end)

    def _constants(self) -> dict[str, Tensor]:
        """By the name of their node: parameters, buffers and the like."""
        program, signature = self.program, self.program.graph_signature
        state = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        found = {node: program.constants.get(name) for node, name in state.items()}
        found |= {node: program.state_dict.get(name, found[node]) for node, name in state.items()}
        lifted = signature.inputs_to_lifted_tensor_constants
        return found | {node: program.constants[name] for node, name in lifted.items()}

    def _call(self, node: Node) -> None:
        target: Any = node.target
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        fed = [self.values[one] for one in node.all_input_nodes]
        if not any(isinstance(one, str | Parts) for one in fed):
            self.values[node] = target(*args, **kwargs)
            return
        packet = getattr(target, "overloadpacket", target)
        try:
            self.values[node] = OPERATORS[packet.__name__](self.trace, node, *args, **kwargs)
        except (KeyError, TypeError, ValueError):
            self.unknown.append(f"{where_of(node) or 'the network itself'} ({packet.__name__})")
            self.values[node] = node.name
            found = node.meta["val"]
            self.trace.shapes[node.name] = tuple(getattr(found, "shape", ()))
