"""Data sets: what a plan is trained on, validated on and, at the very end, tested on.

``DATASETS`` names where images come from. They become arrays of bytes once and are kept in a cache
on disk, which all processes of a machine map. The validation images are cut from the training
images, stratified and always the same for one data set and fraction, so that all plans of all
searches are compared on the same images. The test images are for plans that have already been
chosen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from isoshare.evaluators.data.augmentation import Augment, Augmentation
from isoshare.evaluators.data.data_cache import Arrays, Facts, fetch, store
from isoshare.evaluators.data.folders.image_folder import folder_source
from isoshare.evaluators.data.pixels import fitted
from isoshare.evaluators.data.splits import (
    AS_IT_IS,
    SPLIT_SEED,
    TEST_FRACTION,
    DataOptions,
    DatasetError,
    Part,
    Raw,
    Source,
    stratified_cut,
)
from isoshare.evaluators.data.torchvision_sets import torchvision_source
from isoshare.space.errors import one_of

FOLDER = "folder:"
PARTS = ("train", "validation", "test")
CACHE_FORMAT = 2
"""Counts up when the same source and options give other arrays than before."""


@dataclass(frozen=True)
class Dataset:
    """One data set in its three parts.

    fingerprint: sixteen hexadecimal digits of all images, labels and the way they are split.
    augmentation: what is usually done to its images in training. mirrored_is_same: whether they are
        known to show the same if left and right change places.
    warnings: sentences for the user about what could not be read or written.
    class_names: where they are known. notes: sentences about what was found and left out.
    """

    name: str
    classes: int
    train: Part
    validation: Part
    test: Part
    fingerprint: str
    augmentation: Augmentation
    warnings: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mirrored_is_same: bool = False

    @property
    def in_channels(self) -> int:
        """Colour channels of an image."""
        return self.image_shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return int(channels), int(height), int(width)

    def augmentation_by(self, augment: Augment) -> Augmentation:
        """What is done to its images in training if ``augment`` is asked for."""
        if augment == "none":
            return Augmentation()
        safe = augment == "standard" or self.mirrored_is_same
        return self.augmentation if safe else replace(self.augmentation, flip=False)


@dataclass(frozen=True)
class DatasetRow:
    """One row of DATASETS.

    source: from the data set's name, as the user wrote it, and the options.
    crop, flip: whether images, a little shifted or mirrored, usually still show the same thing.
    known: whether anybody knows what they show.
    bundled: whether there is no folder that could be elsewhere.
    """

    source: Callable[[str, DataOptions], Source]
    crop: bool = False
    flip: bool = False
    known: bool = True
    bundled: bool = False

    def augmentation(self, height: int, width: int) -> Augmentation:
        """The usual one: shifts of up to an eighth of the side, 4 pixels of 32."""
        return Augmentation(crop=min(height, width) // 8 if self.crop else 0, flip=self.flip)


def load_dataset(name: str, validation: float, options: DataOptions = AS_IT_IS) -> Dataset:
    """Load a data set and cut ``validation``, a fraction, from its training images.

    Raises DatasetError for an unknown name, images that are not there, or options that do not fit.
    """
    if row_name(name) not in DATASETS and ":" in name.strip(":"):
        raise DatasetError(
            f"data set {name!r} is a function of your own, which only a search trains on: take "
            "images by name or folder, or train the plan in Python with isoshare.apply_plan"
        )
    if row_name(name) not in DATASETS:
        raise DatasetError(one_of("data set", name, DATASETS))
    row = DATASETS[row_name(name)]
    source = row.source(name, options)
    key = source.key and _cache_key(source.key, validation, options)
    arrays, facts = (key and fetch(key)) or _prepare(source, key, validation)
    train, held_out, test = (
        Part(arrays[f"{part}-images"], arrays[f"{part}-labels"]) for part in PARTS
    )
    return Dataset(
        name,
        facts["classes"],
        train,
        held_out,
        test,
        facts["fingerprint"],
        row.augmentation(*train.images.shape[2:]),
        tuple(facts["warnings"]),
        tuple(facts["class_names"]),
        tuple(facts["notes"]),
        row.known and row.flip,
    )


def row_name(name: str) -> str:
    """The row of DATASETS that ``name`` means, if there is one: "folder:cats" is "folder:PATH"."""
    is_path = name.startswith(FOLDER) and name != FOLDER
    return f"{FOLDER}PATH" if is_path else name


def full_name(name: str) -> str:
    """``name``; the path of a folder is made absolute, so that it holds wherever one resumes."""
    if row_name(name) == name:
        return name
    path = Path(name.removeprefix(FOLDER))
    return f"{FOLDER}{(path.expanduser() if path.parts[0] == '~' else path).absolute()}"


def moved_to(name: str, folder: str) -> dict[str, str | None]:
    """The options of a search on ``name`` whose images lie in ``folder`` now; of a folder of images
    it is the new path. Raises DatasetError.
    """
    if DATASETS[row_name(name)].bundled:
        raise DatasetError(
            f"data set {name!r} is bundled, so it is in no folder: leave out --data-folder, got "
            f"{folder!r}"
        )
    is_path = row_name(name) != name
    return {"dataset": f"{FOLDER}{folder}", "data_folder": None} if is_path else {}


def _prepare(source: Source, key: str | None, validation: float) -> tuple[Arrays, Facts]:
    """Read, cut, and put into the cache; the arrays come back from there if they can."""
    raw = source.read()
    classes = int(raw.train.labels.max()) + 1
    if raw.test.labels.max() >= classes:
        raise DatasetError(
            f"labels must lie between 0 and {classes - 1}, the classes of the training images: a "
            f"test image has {raw.test.labels.max()}"
        )
    held_out = raw.validation
    train, held_out = (raw.train, held_out) if held_out else stratified_cut(raw.train, validation)
    arrays: Arrays = {}
    for name, part in zip(PARTS, (train, held_out, raw.test), strict=True):
        arrays |= {f"{name}-images": part.images, f"{name}-labels": part.labels}
    facts: Facts = {
        "classes": classes,
        "fingerprint": _fingerprint(arrays),
        "warnings": list(raw.warnings),
        "class_names": list(raw.class_names),
        "notes": list(raw.notes),
    }
    if key is None:
        return arrays, facts
    try:
        store(key, arrays, facts)
    except OSError as error:
        unwritable = (
            f"the prepared images cannot be kept in the cache folder ({error}): they stay in "
            "memory and are prepared again next time; set ISOSHARE_CACHE to a folder with room"
        )
        return arrays, {**facts, "warnings": [*raw.warnings, unwritable]}
    return fetch(key) or (arrays, facts)


def _cache_key(source: str, validation: float, options: DataOptions) -> str:
    asked = {**asdict(options), "folder": None}  # where files lie does not change what is in them
    text = json.dumps([CACHE_FORMAT, SPLIT_SEED, TEST_FRACTION, source, validation, asked])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fingerprint(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def digits(_: str, options: DataOptions) -> Source:
    """1,797 handwritten digits of 8x8 grey pixels, bundled with scikit-learn.

    They have no test part of their own: a fifth is cut off. Importing scikit-learn takes longer
    than all else at the start of a short training, so they are kept in the cache too.
    """

    def read() -> Raw:
        from sklearn.datasets import load_digits

        raw = load_digits()
        images = (raw.images * 15).astype(np.uint8)[:, np.newaxis]  # 0..16 to 0..240
        parts = stratified_cut(Part(images, raw.target.astype(np.int64)), TEST_FRACTION)
        return fitted(*parts, options)

    return Source(f"digits of scikit-learn {version('scikit-learn')}", read)


def _image_folder(name: str, options: DataOptions) -> Source:
    return folder_source(Path(full_name(name).removeprefix(FOLDER)), options)


DATASETS: dict[str, DatasetRow] = {
    "digits": DatasetRow(digits, bundled=True),
    "cifar10": DatasetRow(torchvision_source, crop=True, flip=True),
    "cifar100": DatasetRow(torchvision_source, crop=True, flip=True),
    "svhn": DatasetRow(torchvision_source, crop=True),  # mirrored digits are other digits
    "fashion_mnist": DatasetRow(torchvision_source, crop=True, flip=True),
    "folder:PATH": DatasetRow(_image_folder, crop=True, flip=True, known=False),
}
"""Name to where its images come from."""
