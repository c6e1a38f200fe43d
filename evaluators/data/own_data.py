"""Data sets of the user's own: a training and a test set of any kind.

Each is something with a length that gives an example for an index, as ``torch.utils.data.Dataset``
and Hugging Face's ``datasets`` do, or a pair of arrays. The validation examples are cut from the
training examples at random, and always in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isoshare.evaluators.data.examples import input_batch, inputs_of, mapped, pair, targets_of
from isoshare.evaluators.data.randomness import seeded
from isoshare.evaluators.data.splits import SPLIT_SEED, DatasetError

COMPARED = 256
"""Examples of each part that tell whether a data set is still the same."""


@dataclass(frozen=True)
class OwnPart:
    """Some examples of a source. index: which, (n,)."""

    source: Any
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, places: Sequence[int]) -> tuple[Any, Any]:
        """Inputs and targets of the examples at these places, stacked. Raises DatasetError."""
        asked = self.index[np.asarray(places, dtype=np.int64)].tolist()
        if isinstance(self.source, _Arrays):
            return self.source.rows(asked)
        several = getattr(self.source, "__getitems__", None)
        rows = several(asked) if several else [self.source[one] for one in asked]
        inputs, targets = zip(*map(pair, rows), strict=True)
        return inputs_of(inputs), targets_of(targets)


@dataclass(frozen=True)
class OwnData:
    """The three parts of a data set of the user's own."""

    train: OwnPart
    validation: OwnPart
    test: OwnPart

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one input, if it is one tensor of floats."""
        inputs, _ = self.train.batch([0])
        is_one = isinstance(inputs, torch.Tensor) and inputs.is_floating_point()
        return tuple(inputs.shape[1:]) if is_one else None

    def facts(self) -> dict[str, int]:
        """What networks are often told: in_channels, image_size, and classes if they are known."""
        shape = self.shape or ()
        known = {"in_channels": shape[0]} if shape else {}
        known |= {"image_size": shape[-1]} if len(shape) == 3 else {}
        classes = _classes(self.train.source)
        return known | ({"classes": classes, "num_classes": classes} if classes else {})

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the lengths and of some hundred examples.

        What changes with each look, as augmented images do, counts by its shape alone.
        """
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(f"{len(part)} ".encode())
            for once, again in zip(_looked(part), _looked(part), strict=True):
                digest.update(once.contents if once == again else once.shapes)
        return digest.hexdigest()[:16]


def own_data(given: Any, validation: float, subset: int | None = None) -> OwnData:
    """What a function of the user's own returned, checked and cut. Raises DatasetError.

    given: (training set, test set), or a dictionary with "train" and "test".
    validation: the fraction that is cut from the training set, of which ``subset`` are used.
    """
    train, test = _both(given)
    sources = _source(train, "training"), _source(test, "test")
    lengths = tuple(len(source) for source in sources)
    if subset is not None and subset > lengths[0]:
        raise DatasetError(
            f"--subset must be at most {lengths[0]:,}, the training examples there are, got "
            f"{subset:,}"
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(lengths[0])[:subset]
    held_out = min(max(1, round(len(order) * validation)), len(order) - 1)
    if held_out < 1:
        raise DatasetError(
            f"some of the training examples are kept for validation, so at least 2 are needed, "
            f"got {len(order)}"
        )
    return OwnData(
        OwnPart(sources[0], np.sort(order[held_out:])),
        OwnPart(sources[0], np.sort(order[:held_out])),
        OwnPart(sources[1], np.arange(lengths[1])),
    )


@dataclass(frozen=True)
class _Arrays:
    """Inputs, one array or several by name, and as many targets."""

    inputs: Any
    targets: Any

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[Any, Any]:
        inputs, targets = self.rows([place])
        return mapped(lambda tensor: tensor[0], inputs), targets[0]

    def rows(self, places: list[int]) -> tuple[Any, Any]:
        """A batch."""
        if isinstance(self.inputs, Mapping):
            inputs: Any = {name: _taken(array, places) for name, array in self.inputs.items()}
        else:
            inputs = _taken(self.inputs, places)
        return inputs, targets_of([self.targets[place] for place in places])


def _taken(array: Any, places: list[int]) -> Any:
    """Some of the inputs, stacked."""
    if hasattr(array, "dtype"):
        return input_batch(array[places])
    return inputs_of([array[place] for place in places])


def _both(given: Any) -> tuple[Any, Any]:
    if isinstance(given, Mapping) and "train" in given and "test" in given:
        return given["train"], given["test"]
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1]
    raise DatasetError(
        "a data set of your own is (training set, test set), or a dictionary with 'train' and "
        f"'test', got a {type(given).__name__}"
    )


def _source(part: Any, said: str) -> Any:
    """A set with a length and an index. Raises DatasetError."""
    if isinstance(part, tuple) and len(part) == 2:
        part = _arrays(part[0], part[1], said)
    elif hasattr(part, "dtype"):
        raise DatasetError(
            f"the {said} set has no targets: give (inputs, targets), got one array of shape "
            f"{tuple(part.shape)}"
        )
    try:
        length = len(part)
        part.__getitem__  # noqa: B018  a set has it, or not
    except (TypeError, AttributeError, NotImplementedError) as error:
        raise DatasetError(
            f"the {said} set has no length, or no examples by index, as a "
            f"{type(part).__name__} has not: give a list of (input, target), or a Dataset with "
            "__len__ and __getitem__"
        ) from error
    if not length:
        raise DatasetError(f"the {said} set is empty: at least one example is needed")
    return part


def _arrays(inputs: Any, targets: Any, said: str) -> _Arrays:
    """A pair of arrays. Raises DatasetError."""
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    if not (hasattr(first, "__len__") and hasattr(targets, "__len__")):
        raise DatasetError(
            f"a pair is (inputs, targets), each with a length: the {said} set has a "
            f"{type(first).__name__} and a {type(targets).__name__}"
        )
    if len(first) != len(targets):
        raise DatasetError(
            f"the {said} set has {len(first):,} inputs and {len(targets):,} targets: there has to "
            "be one for each"
        )
    return _Arrays(inputs, targets)


def _classes(source: Any) -> int | None:
    """How many there are, where the data set says so, or arrays hold one whole number each."""
    if isinstance(source, _Arrays):
        targets = targets_of(list(source.targets))
        is_class = isinstance(targets, torch.Tensor) and targets.ndim == 1
        whole = is_class and not targets.is_floating_point()
        return int(targets.max()) + 1 if whole else None
    named = getattr(source, "classes", None)
    return len(named) if isinstance(named, list | tuple) else None


@dataclass
class _Look:
    """Inputs or targets of one example, as digests."""

    shapes: bytes = b""
    contents: bytes = b""

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        """One of its tensors."""
        self.shapes = _digest(self.shapes, f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        self.contents = _digest(self.contents + self.shapes, tensor.contiguous().numpy().tobytes())
        return tensor


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _looked(part: OwnPart) -> list[_Look]:
    """Some hundred examples of a part."""
    places = np.linspace(0, len(part) - 1, min(COMPARED, len(part))).astype(int)
    found = []
    with seeded(SPLIT_SEED):
        for place in places.tolist():
            for value in part.batch([place]):
                found.append(look := _Look())
                mapped(look.note, value)
    return found
