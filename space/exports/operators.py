"""What each operator of torch becomes in a ``SmallGraph``, one function each.

A function takes the trace, the node and the arguments of the operator, in which a tensor that
depends on the image is its name. It raises KeyError or ValueError for what has no counterpart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from isoshare.space.exports.small_graph import (
    CONVOLUTION,
    NORMALISATION,
    convolution_options,
    pointwise_options,
)
from isoshare.space.exports.trace import Parts, Trace, affine, sides_of
from isoshare.space.exports.transposed import transposed


def _convolution(
    trace: Trace,
    node: Node,
    x: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    sides = weight.dim() - 2
    dilation = sides_of(dilation, sides)
    if isinstance(padding, str):
        whole = [step * (side - 1) for step, side in zip(dilation, weight.shape[2:], strict=True)]
        if padding == "same" and any(one % 2 for one in whole):
            raise ValueError(padding)
        padding = [one // 2 if padding == "same" else 0 for one in whole]
    options = convolution_options(
        sides_of(stride, sides), sides_of(padding, sides), dilation, groups
    )
    name = trace.kernel(weight, tuple(weight.shape))
    return trace.add(
        node, CONVOLUTION, (x,), kernel=name, options=options, **affine(len(weight), bias)
    )


def _linear(trace: Trace, node: Node, x: Any, weight: Tensor, bias: Tensor | None = None) -> str:
    """A convolution of 1x1 of one position."""
    if len(trace.shapes[x]) != 2:
        raise ValueError("linear layers of sequences")
    positions = (1, weight.shape[1], 1, 1)
    flat, wide = f"{node.name}.in", f"{node.name}.out"
    trace.add(node, "reshape", (x,), output=flat, shape=positions)
    name = trace.kernel(weight, (*weight.shape, 1, 1))
    shape = (1, len(weight), 1, 1)
    given = {**affine(len(weight), bias), "options": pointwise_options(2), "kernel": name}
    trace.add(node, CONVOLUTION, (flat,), output=wide, shape=shape, **given)
    return trace.add(node, "reshape", (wide,))


def _norm(
    trace: Trace,
    node: Node,
    x: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    _momentum: float,
    epsilon: float,
) -> Parts:
    """Of features without positions it is one of a single position."""
    shape = trace.shapes[x]
    factor = torch.rsqrt(variance.double() + epsilon)
    factor = factor if weight is None else factor * weight.double()
    shift = -mean.double() * factor + (0 if bias is None else bias.double())
    given = {"factor": factor, "shift": shift}
    if len(shape) > 2:
        return Parts([trace.add(node, NORMALISATION, (x,), **given, shape=shape)])
    wide, normalised = f"{node.name}.in", f"{node.name}.out"
    positions = (*shape, 1, 1)
    trace.add(node, "reshape", (x,), output=wide, shape=positions)
    trace.add(node, NORMALISATION, (wide,), output=normalised, shape=positions, **given)
    return Parts([trace.add(node, "reshape", (normalised,), shape=shape)])


def _plain(kind: str, inputs: int = 1) -> Callable[..., str]:
    """A layer without options."""

    def read(trace: Trace, node: Node, *args: Any, **_: Any) -> str:
        return trace.add(node, kind, args[:inputs])

    return read


def _silu(trace: Trace, node: Node, x: Any) -> str:
    """Times its own sigmoid: what devices have integer operators for."""
    part = trace.add(node, "sigmoid", (x,), output=f"{node.name}.sigmoid")
    return trace.add(node, "mul", (x, part))


def _gelu(trace: Trace, node: Node, x: Any, approximate: str = "none") -> str:
    return trace.add(node, "gelu", (x,), options={"approximate": approximate})


def _hardtanh(trace: Trace, node: Node, x: Any, low: float = -1, high: float = 1) -> str:
    if (low, high) != (0, 6):
        raise ValueError("hardtanh")
    return trace.add(node, "relu6", (x,))


def _concat(trace: Trace, node: Node, parts: list[Any], dim: int = 0) -> str:
    return trace.add(node, "concat", tuple(parts), options={"dim": dim % node.meta["val"].dim()})


def _mean(trace: Trace, node: Node, x: Any, dims: list[int], keep: bool = False) -> str:
    count = len(trace.shapes[x])
    if sorted(dim % count for dim in dims) != list(range(2, count)) or count < 3:
        raise ValueError("mean")
    shape = (*trace.shapes[x][:2], *[1] * (count - 2))
    if keep:
        return trace.add(node, "mean", (x,))
    wide = trace.add(node, "mean", (x,), output=f"{node.name}.wide", shape=shape)
    return trace.add(node, "reshape", (wide,))


def _adaptive(trace: Trace, node: Node, x: Any, size: Any) -> str:
    if set(sides_of(size, 1)) != {1}:
        raise ValueError("adaptive pooling to more than one position")
    return trace.add(node, "mean", (x,))


def _pool(kind: str) -> Callable[..., str]:
    """Windows that fit: rounding up at the edge or averages over padding have no counterpart."""

    def read(
        trace: Trace, node: Node, x: Any, size: Any, stride: Any = None, padding: Any = 0, *_: Any
    ) -> str:
        given = {"size": size, "stride": stride or size, "padding": padding}
        count = len(trace.shapes[x]) - 2
        options = {name: sides_of(value, count) for name, value in given.items()}
        fits = [
            (side + 2 * pad - window) // step + 1
            for side, window, step, pad in zip(trace.shapes[x][2:], *options.values(), strict=True)
        ]
        if list(node.meta["val"].shape[2:]) != fits:
            raise ValueError(kind)
        if kind == "average_pool" and any(options["padding"]):
            raise ValueError(kind)
        return trace.add(node, kind, (x,), options=options)

    return read


def _slice(
    trace: Trace,
    node: Node,
    x: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> str:
    size = trace.shapes[x][dim]
    start, end, _ = slice(start, end).indices(size)
    return trace.add(
        node, "slice", (x,), options={"dim": dim, "start": start, "end": end, "step": step}
    )


def _pad(
    trace: Trace, node: Node, x: Any, pad: list[int], mode: Any = None, value: Any = None
) -> str:
    if mode not in (None, "constant", 0) or value:
        raise ValueError("padding with other than zeros")
    pairs = [(0, 0)] * len(trace.shapes[x])
    for place in range(len(pad) // 2):
        pairs[-1 - place] = (pad[2 * place], pad[2 * place + 1])
    return trace.add(node, "pad", (x,), options={"pairs": tuple(pairs)})


def _parts(trace: Trace, node: Node, x: Any, _size: Any, dim: int = 0) -> Parts:
    sizes = [one.shape[dim] for one in node.meta["val"]]
    parts, start = [], 0
    for place, size in enumerate(sizes):
        options = {"dim": dim, "start": start, "end": start + size, "step": 1}
        shape = tuple(node.meta["val"][place].shape)
        name = f"{node.name}.{place}"
        parts.append(trace.add(node, "slice", (x,), output=name, shape=shape, options=options))
        start += size
    return Parts(parts)


def _transpose(trace: Trace, node: Node, x: Any, one: int, two: int) -> str:
    order = list(range(len(trace.shapes[x])))
    order[one], order[two] = order[two], order[one]
    return trace.add(node, "transpose", (x,), options={"order": tuple(order)})


OPERATORS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **{f"conv_transpose{sides}d": transposed for sides in (1, 2, 3)},
    "linear": _linear,
    "_native_batch_norm_legit_no_training": _norm,
    **{name: _plain(name) for name in ("relu", "relu6", "hardswish", "hardsigmoid", "sigmoid")},
    "silu": _silu,
    "gelu": _gelu,
    "hardtanh": _hardtanh,
    **dict.fromkeys(("dropout", "alias", "clone", "contiguous", "detach_"), _plain("identity")),
    "add": _plain("add", 2),
    "mul": _plain("mul", 2),
    "cat": _concat,
    "mean": _mean,
    **{f"adaptive_avg_pool{sides}d": _adaptive for sides in (1, 2, 3)},
    **{f"avg_pool{sides}d": _pool("average_pool") for sides in (1, 2, 3)},
    **{f"max_pool{sides}d": _pool("max_pool") for sides in (1, 2, 3)},
    **dict.fromkeys(("flatten", "view", "_unsafe_view", "reshape"), _plain("reshape")),
    **dict.fromkeys(("unsqueeze", "squeeze"), _plain("reshape")),
    "slice": _slice,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "chunk": _parts,
    "split": _parts,
    "split_with_sizes": _parts,
    "getitem": lambda _trace, _node, parts, place: parts[place],
    "transpose": _transpose,
}
"""What each operator of torch becomes."""
