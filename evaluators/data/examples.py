"""Examples of any kind as tensors: images, series, dictionaries, with targets of any kind.

Of inputs, bytes are taken for images: (height, width), (height, width, channels) or (channels,
height, width), which become floats from 0 to 1, channels first. Other numbers become float32 if
they are floats, else they stay what they are. Targets keep what they say: whole numbers become
int64, and what does not stack to one tensor, as boxes of several images, stays a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoshare.evaluators.data.splits import DatasetError

CHANNELS = (1, 3, 4)
NARROW = {torch.float64: torch.float32, torch.float16: torch.float32}
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32)


def pair(row: Any, what: str = "an example of a data set of your own") -> tuple[Any, Any]:
    """Input and target of one example, or inputs and targets of a batch: a tuple, or a dictionary
    that has the input first. What is more than two belongs to the target. Raises DatasetError, and
    calls it ``what``.
    """
    if isinstance(row, Mapping) and len(row) > 1:
        first, *others = row
        return row[first], row[others[0]] if len(others) == 1 else {k: row[k] for k in others}
    if isinstance(row, tuple | list) and len(row) > 1:
        return row[0], row[1] if len(row) == 2 else tuple(row[1:])
    raise DatasetError(
        f"{what} is (input, target), or a dictionary with the input first, got {_kind(row)}"
    )


def inputs_of(values: Sequence[Any]) -> Any:
    """The inputs of a batch, stacked; of dictionaries and tuples each part. Raises DatasetError."""
    return mapped(_input, _stacked([_plain(value) for value in values]))


def input_batch(array: Any) -> Any:
    """The same of inputs that are one array."""
    return mapped(_input, _plain(array))


def targets_of(values: Sequence[Any]) -> Any:
    """The targets of a batch: stacked where all are of one shape, else a list."""
    plain = [_plain(value) for value in values]
    try:
        return mapped(_target, _stacked(plain))
    except DatasetError:
        return [mapped(_target, value) for value in plain]


def mapped(change: Any, value: Any) -> Any:
    """``value`` with each tensor in it changed."""
    if isinstance(value, Mapping):
        return {key: mapped(change, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(mapped(change, part) for part in value)
    return change(value) if isinstance(value, Tensor) else value


def _plain(value: Any) -> Any:
    """Arrays, numbers and decoded images as tensors; texts stay."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], int | float | list):
        return _plain(np.asarray(value)) if _is_even(value) else value
    if isinstance(value, tuple | list):
        return type(value)(_plain(part) for part in value)
    if hasattr(value, "getbands"):  # an image of Pillow
        value = np.asarray(value)
        value = value.transpose(2, 0, 1) if value.ndim == 3 else value
    if isinstance(value, np.ndarray | np.generic):
        return torch.from_numpy(np.array(value))
    return torch.tensor(value) if isinstance(value, bool | int | float) else value


def _is_even(value: list[Any]) -> bool:
    """Whether a nested list is a table of numbers."""
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:
        return False


def _stacked(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _stacked([value[key] for value in values]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(map(_stacked, zip(*values, strict=True)))
    if not isinstance(first, Tensor):
        raise DatasetError(
            f"inputs have to be numbers, arrays, tensors or images, got {_kind(first)}"
        )
    shapes = dict.fromkeys(tuple(value.shape) for value in values)
    if len(shapes) > 1:
        one, other, *_ = shapes
        raise DatasetError(
            f"inputs have different shapes, {one} and {other}: resize or pad them in the data set"
        )
    return torch.stack(list(values))


def _input(batch: Tensor) -> Tensor:
    """A stacked batch of inputs as a network takes it."""
    if batch.dtype == torch.uint8 and batch.ndim == 3:
        batch = batch[:, None]
    if batch.dtype == torch.uint8 and batch.ndim == 4:
        if batch.shape[-1] in CHANNELS and batch.shape[1] not in CHANNELS:
            batch = batch.movedim(-1, 1)
        return batch.float() / 255
    return batch.to(NARROW.get(batch.dtype, batch.dtype))


def _target(value: Tensor) -> Tensor:
    return value.long() if value.dtype in WHOLE else value.to(NARROW.get(value.dtype, value.dtype))


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
