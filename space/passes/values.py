"""Tensors in whatever a network takes and returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only


def varied(sample: Any, seed: int) -> Any:
    """The same numbers in another order, so that it stays what the network takes."""
    shuffled = torch.Generator().manual_seed(seed)

    def mixed(tensor: Tensor) -> Tensor:
        order = torch.randperm(tensor.numel(), generator=shuffled).to(tensor.device)
        return tensor.flatten()[order].view_as(tensor)

    return tree_map_only(Tensor, mixed, sample)


def tensors_in(value: Any, depth: int) -> Iterator[Tensor]:
    """In whatever a network returns."""
    if isinstance(value, Tensor):
        yield value
        return
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif is_dataclass(value):
        inner = [getattr(value, field.name) for field in fields(value)]
    for one in inner if depth else ():
        yield from tensors_in(one, depth - 1)
