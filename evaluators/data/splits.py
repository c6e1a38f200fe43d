"""Images with their labels, what a user may ask of them, and how they are cut in proportion.

Every source of images builds on this file: ``DATASETS`` in evaluators/data/datasets.py lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoshare.space.errors import IsoshareError

SPLIT_SEED = 0
TEST_FRACTION = 0.2
"""What is cut off for testing where a data set has no test part of its own."""
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Index = NDArray[np.int64]


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
class DataOptions:
    """What is asked of a data set; None leaves it as it is.

    subset: so many training images, before the validation images are cut from them.
    resolution: side of the square that all images are shrunk to. channels: 1 or 3.
    folder: where torchvision's data sets lie; the cache folder, if not given.
    """

    subset: int | None = None
    resolution: int | None = None
    channels: int | None = None
    folder: str | None = None


AS_IT_IS = DataOptions()


@dataclass(frozen=True)
class Raw:
    """What a source gives: options are applied, the validation images are not cut yet.

    warnings: sentences for the user about images that were left out. validation: where the source
    has one, and nothing is cut from train. class_names: where the source knows them. notes:
    sentences about what was found, which is as it should be.
    """

    train: Part
    test: Part
    warnings: tuple[str, ...] = ()
    validation: Part | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where the images of a data set come from.

    key: text that changes when the images do, or None where reading them is quicker than a cache.
    read: called only when the cache does not have what it gives. Raises DatasetError.
    """

    key: str | None
    read: Callable[[], Raw]


def stratified_cut(part: Part, fraction: float) -> tuple[Part, Part]:
    """Cut ``fraction`` from ``part``, every class in proportion. Raises DatasetError."""
    kept, cut = stratified_indices(part.labels, fraction)
    return take(part, kept), take(part, cut)


def stratified_indices(
    labels: Labels, fraction: float, part: str = "validation"
) -> tuple[Index, Index]:
    """Which images stay and which are cut off for ``part``. Raises DatasetError."""
    from sklearn.model_selection import train_test_split

    _check_enough(labels, fraction, part)
    try:
        kept, cut = train_test_split(
            np.arange(len(labels)),
            test_size=fraction,
            stratify=labels,
            random_state=SPLIT_SEED,
        )
    except ValueError as error:
        raise DatasetError(
            f"cannot cut a fraction of {fraction} from {len(labels)} images, every class in "
            f"proportion: {error}"
        ) from error
    return kept, cut


def _check_enough(labels: Labels, fraction: float, part: str) -> None:
    """Raise DatasetError unless both sides can have an image of each class."""
    count, classes = len(labels), len(np.unique(labels))
    cut = math.ceil(count * fraction)
    if min(cut, count - cut) >= classes:
        return
    enough = math.ceil(100 * classes / count) / 100
    larger = part == "validation" and cut < classes and math.ceil(count * enough) <= count - classes
    way_out = f"ask for --validation {enough:g}, " if larger else ""
    raise DatasetError(
        f"{count:,} images of {classes:,} classes are too few to cut {fraction:g} of them off for "
        f"{part}: that leaves {cut:,} and {count - cut:,}, and both need one of each class; "
        f"{way_out}use more images, or give a {part} folder"
    )


def stratified_subset(labels: Labels, count: int) -> Index:
    """Which ``count`` images to take, every class at least once and else in proportion.

    A smaller subset lies inside every larger one. Raises DatasetError.
    """
    classes = np.unique(labels)
    if not len(classes) <= count <= len(labels):
        raise DatasetError(
            f"--subset must lie between {len(classes)}, one image a class, and the {len(labels):,} "
            f"training images there are, got {count:,}"
        )
    generator = np.random.default_rng(SPLIT_SEED)
    share = np.empty(len(labels))  # of its own class that has been taken when its turn comes
    for one in classes:
        members = np.flatnonzero(labels == one)
        share[generator.permutation(members)] = np.arange(len(members)) / len(members)
    return np.sort(np.argsort(share, kind="stable")[:count])


def take(part: Part, index: Index) -> Part:
    """The images at ``index``, copied."""
    return Part(part.images[index], part.labels[index])
