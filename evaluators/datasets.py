"""Data sets: what a plan is trained on, validated on and, at the very end, tested on.

``DATASETS`` names the functions that load one, each once and whole, as arrays of bytes. The
validation images are cut from the training images, stratified and always the same for one data set
and fraction, so that all plans of all searches are compared on the same images. The test images
are for plans that have already been chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from space.errors import IsoshareError, one_of

SPLIT_SEED = 0
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class DatasetError(IsoshareError):
    """A data set that is unknown or cannot be used."""


@dataclass(frozen=True)
class Part:
    """Images (n, channels, height, width) with labels (n,) from 0 to classes - 1."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """One data set in its three parts."""

    name: str
    classes: int
    train: Part
    validation: Part
    test: Part

    @property
    def in_channels(self) -> int:
        """Colour channels of an image."""
        return int(self.train.images.shape[1])

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of all images, labels and the way they are split."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(part.images.tobytes())
            digest.update(part.labels.tobytes())
        return digest.hexdigest()[:16]


def load_dataset(name: str, validation: float) -> Dataset:
    """Load a data set and cut ``validation``, a fraction, from its training images.

    Raises DatasetError for an unknown name, or where a class is too small to be cut.
    """
    if name not in DATASETS:
        raise DatasetError(one_of("data set", name, DATASETS))
    images, test = DATASETS[name]()
    train, held_out = stratified_cut(images, validation)
    return Dataset(name, int(images.labels.max()) + 1, train, held_out, test)


def stratified_cut(part: Part, fraction: float) -> tuple[Part, Part]:
    """Cut ``fraction`` from ``part``, every class in proportion. Raises DatasetError."""
    from sklearn.model_selection import train_test_split

    try:
        kept, cut = train_test_split(
            np.arange(len(part)),
            test_size=fraction,
            stratify=part.labels,
            random_state=SPLIT_SEED,
        )
    except ValueError as error:
        raise DatasetError(
            f"cannot cut a fraction of {fraction} from {len(part)} images, every class in "
            f"proportion: {error}"
        ) from error
    return _take(part, kept), _take(part, cut)


def digits() -> tuple[Part, Part]:
    """1,797 handwritten digits of 8x8 grey pixels, bundled with scikit-learn.

    They have no test part of their own: a fifth is cut off.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = (raw.images * 15).astype(np.uint8)[:, np.newaxis]  # 0..16 to 0..240
    return stratified_cut(Part(images, raw.target.astype(np.int64)), 0.2)


def _take(part: Part, index: NDArray[np.int64]) -> Part:
    return Part(part.images[index], part.labels[index])


DATASETS: dict[str, Callable[[], tuple[Part, Part]]] = {
    "digits": digits,
}
"""Name to a function that returns the training part, not yet cut, and the test part."""
