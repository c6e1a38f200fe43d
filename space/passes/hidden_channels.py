"""Channels of a network that may stand in another order, without any change of what it computes.

The channels that one layer writes and others read, with nothing in between but what treats all
channels alike, may be renumbered (Ainsworth et al. 2022, arXiv 2209.04836). Which layers these are
is read from the graph that torch.fx traces, in training and in evaluation. Whatever is not known to
keep channels apart fixes the order of those that reach it, and so does every output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from isoshare.space.network_copy import copy_network, held_values

Role = Literal["writes", "reads", "carries"]
"""Channels are the rows of a kernel, its columns, or have one value or one kernel each."""
LAYERS: tuple[Any, ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""By the dimensions that lie behind their channels."""
NORMS: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
ELEMENTWISE = (
    *(nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Tanh),
)
FUNCTIONS = {
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "sigmoid", "tanh"),
    *("hardsigmoid", "hardswish", "hardtanh", "dropout", "contiguous", "clone", "clamp"),
    *("add", "iadd", "add_", "sub", "mul", "imul", "mul_", "truediv", "div"),
}
"""Functions and methods of tensors that are elementwise, by name."""


@dataclass(frozen=True)
class HiddenChannels:
    """members: layers and normalisations by name, each with what the channels are to it."""

    count: int
    members: tuple[tuple[str, Role], ...]

    def renumber(self, network: nn.Module, order: Tensor) -> None:
        """Put channel ``order[i]`` in place i, in all that ``network`` holds of them."""
        for name, role in self.members:
            part = network.get_submodule(name)
            for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
                with torch.no_grad():
                    tensor.copy_(renumbered(tensor, role, order))


def renumbered(tensor: Tensor, role: Role, order: Tensor) -> Tensor:
    """A tensor of a layer, a kernel or one value for each channel, with channels in ``order``."""
    if role == "reads":
        return tensor[:, order] if tensor.dim() > 1 else tensor
    return tensor[order] if tensor.dim() else tensor


def hidden_channels(network: nn.Module) -> tuple[HiddenChannels, ...]:
    """All of ``network`` that provably may be renumbered; none where torch.fx cannot trace it, nor
    where hooks look into it.
    """
    if any(_is_watched(part) for part in network.modules()):
        return ()
    try:
        copied = copy_network(network)
        axes = _Axes(copied)
        for training in (True, False):
            axes.read(fx.Tracer().trace(copied.train(training)))
    except Exception:  # whatever the user's forward raises when it is traced
        return ()
    return tuple(axes.found())


@dataclass(frozen=True)
class _Axis:
    """The channels that a module reads, writes or carries. dimensions: that lie behind them."""

    module: str
    role: Role
    count: int
    dimensions: int


class _Axes:
    """Which channels of a network are the same, and which have to stay in their order."""

    def __init__(self, network: nn.Module) -> None:
        self._parts = dict(network.named_modules())
        self._same: dict[_Axis, _Axis] = {}
        self._fixed: set[_Axis] = set()
        held = [value for _, value in held_values(network) if isinstance(value, Tensor)]
        parameters = [one for part in self._parts.values() for one in part._parameters.values()]
        holders = Counter(id(tensor) for tensor in (*parameters, *held))
        self._left_alone = {
            name
            for name, part in self._parts.items()
            if any(holders[id(one)] > 1 for one in (*part.parameters(False), *part.buffers(False)))
        }

    def read(self, graph: fx.Graph) -> None:
        """Follow the channels through all steps."""
        known: dict[fx.Node, _Axis | None] = {}
        for node in graph.nodes:
            if node.op == "get_attr":  # somebody reads a tensor past its module
                self._left_alone.add(str(node.target).rpartition(".")[0])
            known[node] = self._step(node, [known[one] for one in node.all_input_nodes])

    def found(self) -> Iterator[HiddenChannels]:
        """What may be renumbered, in the order of first use."""
        together: dict[_Axis, list[_Axis]] = {}
        for axis in self._same:
            together.setdefault(self._root(axis), []).append(axis)
        fixed = {self._root(axis) for axis in self._fixed}
        for root, axes in together.items():
            roles, names = {axis.role for axis in axes}, [axis.module for axis in axes]
            is_square = len(set(names)) < len(names)  # rows of a kernel are its columns too
            is_free = root not in fixed and self._left_alone.isdisjoint(names)
            if is_free and not is_square and roles >= {"writes", "reads"}:
                yield HiddenChannels(root.count, tuple((axis.module, axis.role) for axis in axes))

    def _step(self, node: fx.Node, given: list[_Axis | None]) -> _Axis | None:
        """The channels of what one step computes; None where they are unknown."""
        name = str(getattr(node.target, "__name__", node.target))
        if node.op == "call_module" and len(given) == 1:
            return self._module(str(node.target), given[0])
        known = [axis for axis in given if axis is not None]
        is_mean = name == "mean" and all(one.dimensions for one in known)
        is_kept = name in FUNCTIONS or (is_mean and _keeps_channels(node))
        if node.op not in ("call_function", "call_method") or not is_kept or None in given:
            self._fixed |= set(known)
            return None
        for axis in known:
            self._unite(axis, known[0])
        return known[0] if known else None

    def _module(self, name: str, given: _Axis | None) -> _Axis | None:
        """The channels of what a module computes of those that it is given."""
        part: Any = self._parts[name]
        kind = type(part)
        if kind in ELEMENTWISE or (kind in POOLS and given is not None and given.dimensions):
            return given
        if kind in NORMS:
            axis = _Axis(name, "carries", part.num_features, NORMS.index(kind) + 1)
            return self._unite(axis, given)
        if kind not in LAYERS:
            self._fixed |= {given} if given else set()
            return None
        dimensions, groups = LAYERS.index(kind), getattr(part, "groups", 1)
        written, read = part.weight.shape[0], part.weight.shape[1] * groups
        if groups == written == read:
            return self._unite(_Axis(name, "carries", read, dimensions), given)
        inputs = self._unite(_Axis(name, "reads", read, dimensions), given)
        outputs = self._unite(axis := _Axis(name, "writes", written, dimensions), axis)
        self._fixed |= {inputs, outputs} if groups > 1 else set()
        return outputs

    def _unite(self, axis: _Axis, other: _Axis | None) -> _Axis:
        """Both are the same from now on, or stay: where one is unknown, or of another shape."""
        roots = [self._root(axis), self._root(other or axis)]
        is_fixed = other is None or (axis.count, axis.dimensions) != (other.count, other.dimensions)
        if is_fixed:
            self._fixed.update(roots)
        else:
            self._same[roots[0]] = roots[1]
        return axis

    def _root(self, axis: _Axis) -> _Axis:
        while (above := self._same.setdefault(axis, axis)) != axis:
            axis = above
        return axis


def _is_watched(part: Any) -> bool:
    """Whether a hook looks at what a module computes, or computes its weight."""
    return bool(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks)


def _keeps_channels(node: fx.Node) -> bool:
    """Whether a mean is over positions alone, and leaves all dimensions in place."""
    keeps = node.kwargs.get("keepdim", node.args[2] if len(node.args) > 2 else False)
    over: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return keeps is True and isinstance(over, tuple | list) and min(over) > 1
