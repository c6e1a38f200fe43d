"""Truncated decompositions of kernels, by the eigenvectors of the products of their rows.

Kernels have several times as many columns as rows, or the other way round. The symmetric matrix of
the smaller side is decomposed in a fraction of the time that a singular value decomposition takes;
it knows singular values down to some 1e-7 of the largest, which is all that a projection needs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

LEAST = 1e-7
"""Of the largest singular value: what is below is rounding."""
REMEMBERED = 32
"""Decompositions: those of all banks of a group, and of their sites, for one option of a method."""
_known: ContextVar[OrderedDict[bytes, tuple[Tensor, Tensor]] | None]
_known = ContextVar("decompositions", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Within it rows are not decomposed again that were lately: whoever projects the same kernels
    with many options of a method decomposes the same rows each time.
    """
    token = _known.set(OrderedDict())
    try:
        yield
    finally:
        _known.reset(token)


def truncated(rows: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """What comes closest to rows (groups, rows, columns), double, as a product of two tensors.

    They are (groups, rows, rank) and (groups, rank, columns), each with the roots of the singular
    values, and of a lower rank where there are fewer rows or columns.
    """
    if rows.shape[1] > rows.shape[2]:
        left, right = truncated(rows.mT, rank)
        return right.mT, left.mT
    squares, vectors = _eigen(rows)
    squares, vectors = squares.flip(-1)[..., None, :rank], vectors.flip(-1)[..., :rank]
    least = (LEAST**2 * squares.amax(-1, keepdim=True)).clamp_min(torch.finfo(squares.dtype).tiny)
    roots = squares.clamp_min(least).pow(0.25)
    return vectors * roots, (vectors / roots).mT @ rows


def principal(rows: Tensor, rank: int) -> Tensor:
    """The first right singular vectors of each group's rows, orthonormal, (groups, rank, columns).

    rows: (groups, rows, columns), double. Zeros where there are no more.
    """
    if not rank:
        return rows[:, :0]
    found = torch.linalg.qr(truncated(rows, rank)[1].mT).Q.mT
    missing = found.new_zeros(len(rows), rank - found.shape[1], rows.shape[2])
    return torch.cat([found, missing], 1)


def coordinates(rows: Tensor, filters: Tensor) -> Tensor:
    """How much of each of ``filters`` comes closest to each row, (groups, rows, filters)."""
    inverse: Tensor = torch.linalg.pinv(filters @ filters.mT, hermitian=True)
    return rows @ filters.mT @ inverse


def _eigen(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, rising, and eigenvectors of the products of rows."""
    known = _known.get()
    if known is None:
        return _decomposed(rows)
    content: Any = rows.cpu().contiguous().numpy()
    key = str(rows.shape).encode() + blake2b(content).digest()
    if key not in known:
        known[key] = _decomposed(rows)
    known.move_to_end(key)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
    return known[key]


def _decomposed(rows: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    return values, vectors
