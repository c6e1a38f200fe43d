"""Truncated decompositions agree with those of LAPACK, wherever what is left out is told apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from isoshare.space.methods.parts.decomposition import (
    coordinates,
    principal,
    remembering,
    truncated,
)

SHAPES = [(1, 5, 20), (3, 4, 9), (1, 40, 6), (2, 1, 9)]


def drawn(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def largest(tensor: Tensor) -> float:
    return float(tensor.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 3])
def test_what_is_kept_is_what_a_singular_value_decomposition_keeps(
    shape: tuple[int, int, int], rank: int
) -> None:
    rows = drawn(shape)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    wanted = left[..., :rank] * values[:, None, :rank] @ right[:, :rank]
    one, other = truncated(rows, rank)
    assert largest(one @ other - wanted) < 1e-12
    vectors = principal(rows, rank)
    assert vectors.shape == (shape[0], rank, shape[2])
    assert largest(vectors.mT @ vectors - right[:, :rank].mT @ right[:, :rank]) < 1e-12
    assert largest(coordinates(rows, vectors) @ vectors - wanted) < 1e-12


def test_vectors_are_orthonormal_also_where_rows_are_equal_or_nothing() -> None:
    rows = drawn((1, 4, 30))
    for some in (torch.cat([rows, rows], 1), torch.zeros_like(rows)):
        vectors = principal(some, 4)
        assert largest(vectors @ vectors.mT - torch.eye(4, dtype=torch.double)) < 1e-12
        one, other = truncated(some, 4)
        assert largest(one @ other - some) < 1e-12


def test_what_is_remembered_is_decomposed_once() -> None:
    rows, other = drawn((1, 4, 30)), drawn((1, 5, 24))
    expected, beside = principal(rows, 2), principal(other, 3)
    with pytest.MonkeyPatch.context() as patch, remembering():
        decompose, asked = torch.linalg.eigh, list[Tensor]()

        def counted(one: Tensor) -> object:
            asked.append(one)
            return decompose(one)

        patch.setattr(torch.linalg, "eigh", counted)
        for _ in range(3):
            assert torch.equal(principal(rows.clone(), 2), expected)
            assert torch.equal(principal(other, 3), beside)
        assert len(asked) == 2
        assert not torch.equal(principal(rows + 1, 2), expected)
        assert len(asked) == 3


def test_ranks_that_there_are_not_are_zeros() -> None:
    assert principal(drawn((1, 2, 9)), 0).shape == (1, 0, 9)
    vectors = principal(drawn((1, 2, 9)), 5)
    assert vectors.shape == (1, 5, 9)
    assert largest(vectors[:, 2:]) == 0
