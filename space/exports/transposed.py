"""Transposed convolutions as ordinary ones: devices have integer operators for these.

One of stride 1 is a convolution by the kernel turned round. One of a larger stride computes several
positions between two of its input: each of them is a convolution by every stride-th element of the
kernel, so together they are channels of one, whose numbers move apart behind it (Shi et al 2016,
arXiv 1609.07009). Where the stride does not divide a side of the kernel, zeros fill it up.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.nn.functional import pad

from isoshare.space.exports.small_graph import CONVOLUTION, convolution_options
from isoshare.space.exports.trace import Trace, affine, sides_of

Sides = tuple[int, ...]


def transposed(
    trace: Trace,
    node: Node,
    x: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> str:
    """Raises ValueError for groups or dilation together with a stride."""
    count = weight.dim() - 2
    steps, cut, more, apart = (
        sides_of(one, count) for one in (stride, padding, output_padding, dilation)
    )
    if max(steps) > 1 and (groups > 1 or max(apart) > 1):
        raise ValueError("groups or dilation with a stride")
    sides = zip(weight.shape[2:], steps, cut, more, strict=True)
    taps = tuple(-(-max(k, k + one - off) // step) for k, step, off, one in sides)
    around = tuple(gap * (tap - 1) for gap, tap in zip(apart, taps, strict=True))
    if max(steps) == 1 and not any(more):  # compute no positions that are cut off
        spared = tuple(map(min, cut, around))
        cut = tuple(off - one for off, one in zip(cut, spared, strict=True))
        padding = tuple(wide - one for wide, one in zip(around, spared, strict=True))
    else:
        padding = around
    inner = [
        side + 2 * wide - lost
        for side, wide, lost in zip(trace.shapes[x][2:], padding, around, strict=True)
    ]
    wide = weight.shape[1] * groups * prod(steps)
    name = trace.kernel(
        weight,
        (wide, weight.shape[0] // groups, *taps),
        partial(_turned, steps=steps, taps=taps, groups=groups),
        (*steps, *taps),
    )
    last = trace.add(
        node,
        CONVOLUTION,
        (x,),
        output=f"{node.name}.dense",
        shape=(1, wide, *inner),
        kernel=name,
        options=convolution_options((1,) * count, padding, apart, groups),
        **affine(wide, None if bias is None else bias.repeat(prod(steps))),
    )
    if max(steps) > 1:
        last = _moved_apart(trace, node, last, steps)
    return _cut(trace, node, last, cut)


def _turned(weight: Tensor, steps: Sides, taps: Sides, groups: int) -> Tensor:
    """The kernel of the convolution: (positions between two, out, in / groups, taps...).

    weight: (in, out / groups, sides...).
    """
    count = len(steps)
    missing = [tap * step - k for k, step, tap in zip(weight.shape[2:], steps, taps, strict=True)]
    whole = pad(weight, [one for lack in reversed(missing) for one in (0, lack)])
    both = [one for pair in zip(taps, steps, strict=True) for one in pair]
    split = whole.reshape(groups, len(weight) // groups, weight.shape[1], *both)
    between, along = range(4, 4 + 2 * count, 2), range(3, 3 + 2 * count, 2)
    return split.permute(*between, 0, 2, 1, *along).flip(tuple(range(count + 3, 2 * count + 3)))


def _moved_apart(trace: Trace, node: Node, x: str, steps: Sides) -> str:
    """(1, positions between two x out, sides...) as (1, out, sides x steps...)."""
    count, sides = len(steps), trace.shapes[x][2:]
    wide = trace.shapes[x][1] // prod(steps)
    shape = (1, wide, *(side * step for side, step in zip(sides, steps, strict=True)))
    end = f"{node.name}.apart"
    if count == 2 and steps[0] == steps[1]:
        options = {"step": steps[0]}
        return trace.add(node, "depth_to_space", (x,), output=end, shape=shape, options=options)
    split, moved = f"{node.name}.split", f"{node.name}.moved"
    trace.add(node, "reshape", (x,), output=split, shape=(1, *steps, wide, *sides))
    order = (0, count + 1, *(one for k in range(count) for one in (count + 2 + k, 1 + k)))
    found = tuple(trace.shapes[split][place] for place in order)
    trace.add(node, "transpose", (split,), output=moved, shape=found, options={"order": order})
    return trace.add(node, "reshape", (moved,), output=end, shape=shape)


def _cut(trace: Trace, node: Node, x: str, cut: Sides) -> str:
    """Without the positions before ``cut`` and those behind the output."""
    for dim, (off, side) in enumerate(zip(cut, node.meta["val"].shape[2:], strict=True), start=2):
        before = trace.shapes[x]
        if off + side > before[dim]:
            raise ValueError("more positions than it computes")
        if side == before[dim]:
            continue
        shape = (*before[:dim], side, *before[dim + 1 :])
        options = {"dim": dim, "start": off, "end": off + side, "step": 1}
        name = f"{node.name}.cut_{dim}"
        x = trace.add(node, "slice", (x,), output=name, shape=shape, options=options)
    return trace.add(node, "identity", (x,))
