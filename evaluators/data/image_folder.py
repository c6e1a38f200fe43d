"""Folders of images, one folder a class: PATH/train/CLASS and PATH/test/CLASS, or PATH/CLASS.

Files are listed first, which costs little and shows whether anything has changed. Images are
decoded only when the cache does not have them, and only those of the subset.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from isoshare.evaluators.data.decoding import SUFFIXES, Header, decode, read_header
from isoshare.evaluators.data.pixels import check_shrinks, with_channels
from isoshare.evaluators.data.splits import (
    TEST_FRACTION,
    DataOptions,
    DatasetError,
    Index,
    Labels,
    Part,
    Raw,
    Source,
    stratified_indices,
    stratified_subset,
)

T = TypeVar("T")
Broken = dict[str, Exception]


@dataclass(frozen=True)
class Files:
    """Image files with their labels (n,)."""

    paths: tuple[str, ...]
    labels: Labels

    def take(self, index: Index) -> Files:
        """Those at ``index``."""
        return Files(tuple(self.paths[place] for place in index), self.labels[index])


@dataclass(frozen=True)
class Listing:
    """The files of a folder; classes in alphabetical order."""

    root: Path
    classes: tuple[str, ...]
    train: Files
    test: Files


def folder_source(root: Path, options: DataOptions) -> Source:
    """The images below ``root``. Raises DatasetError for a folder that holds no two classes."""
    listing = list_folder(root)
    return Source(_state(listing), partial(_read, listing, options))


def list_folder(root: Path) -> Listing:
    """The image files of a folder; where it has no test part, a fifth of each class is one.

    Raises DatasetError.
    """
    try:
        train, test = _layout(root)
        found = _class_files(train)
        classes = tuple(found)
        tested = _class_files(test) if test else {}
    except OSError as error:
        raise DatasetError(
            f"cannot read the image folder {root}: {error.strerror}; check folder:PATH"
        ) from error
    if unknown := sorted(set(tested) - set(classes)):
        raise DatasetError(
            f"class {unknown[0]!r} is in {test} but not in {train}: every class needs images to "
            "train on; add some, or remove it from the test part"
        )
    _check_classes(train, {name: len(paths) for name, paths in found.items()}, 2 if test else 3)
    files = _labelled(found, classes)
    if test:
        return Listing(root, classes, files, _labelled(tested, classes))
    kept, cut = stratified_indices(files.labels, TEST_FRACTION)
    return Listing(root, classes, files.take(kept), files.take(cut))


def _layout(root: Path) -> tuple[Path, Path | None]:
    """Where the class folders for training and for testing lie."""
    train, test = root / "train", root / "test"
    has_classes = [path for path in (train, test) if path.is_dir() and _folders(path)]
    if len(has_classes) == 1:
        missing = test if has_classes == [train] else train
        raise DatasetError(
            f"{has_classes[0]} has class folders but {missing} has none: give both, or put the "
            f"class folders into {root} itself, then a fifth of the images is cut off for testing"
        )
    return (train, test) if has_classes else (root, None)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _class_files(path: Path) -> dict[str, list[str]]:
    """Class to its image files, at any depth. Raises OSError, DatasetError."""
    found = {folder.name: _image_files(folder) for folder in _folders(path)}
    if len(found) < 2:
        raise DatasetError(
            f"an image folder needs two or more class folders, {path} has {len(found)}: "
            "put the images into PATH/CLASS/, or PATH/train/CLASS/ and PATH/test/CLASS/"
        )
    for name, paths in found.items():
        if not paths:
            raise DatasetError(
                f"class {name!r} is empty: {path / name} has no file that ends in "
                f"{', '.join(SUFFIXES)}; add images or remove the folder"
            )
    return found


def _image_files(folder: Path) -> list[str]:
    def fail(error: OSError) -> None:
        raise error

    return sorted(
        f"{place}{os.sep}{name}"
        for place, _, names in os.walk(folder, onerror=fail)
        for name in names
        if name[name.rfind(".") :].lower() in SUFFIXES and not name.startswith(".")
    )


def _labelled(found: dict[str, list[str]], classes: tuple[str, ...]) -> Files:
    paths = tuple(path for files in found.values() for path in files)
    labels = np.array([classes.index(name) for name in found], np.int64)
    return Files(paths, np.repeat(labels, [len(files) for files in found.values()]))


def _check_classes(place: Path, counts: dict[str, int], needed: int) -> None:
    """Every class needs an image in every part. Raises DatasetError."""
    for name, count in counts.items():
        if count < needed:
            raise DatasetError(
                f"class {name!r} of {place} needs {needed} readable images or more, one to train "
                f"on and one for each part that is cut off, it has {count}: add some or remove it"
            )


def _state(listing: Listing) -> str:
    """Names, sizes and times of all files, as a digest."""
    digest = hashlib.sha256(os.fsencode(listing.root))
    for path in (*listing.train.paths, *listing.test.paths):
        try:
            status = Path(path).stat()
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a link to nothing: reading it will count it as broken
            stamp = "gone"
        digest.update(os.fsencode(path) + f"\0{stamp}\0".encode())
    return digest.hexdigest()


def _read(listing: Listing, options: DataOptions) -> Raw:
    train, test = listing.train, listing.test
    if options.subset is not None:
        train = train.take(stratified_subset(train.labels, options.subset))
    broken: Broken = {}
    paths = (*train.paths, *test.paths)
    headers = [header for path in paths if (header := _try(read_header, path, broken))]
    if not headers:
        raise DatasetError(
            f"none of the {len(paths):,} images in {listing.root} can be read: "
            f"{next(iter(broken.values()))}"
        )
    height, width = _size(headers, options)
    channels = 1 if all(header.is_grey for header in headers) else 3
    _check_memory(len(headers), height, width, channels)
    shape = (channels, height, width)
    raw = Raw(
        _decoded(train, shape, options.channels or channels, broken),
        _decoded(test, shape, options.channels or channels, broken),
    )
    _check_readable(listing, raw)
    return replace(raw, warnings=(_warning(listing.root, broken, len(paths)),) if broken else ())


def _try(work: Callable[[str], T], path: str, broken: Broken) -> T | None:
    try:
        return work(path)
    except Exception as error:  # Pillow's decoders raise all kinds of errors on broken files
        broken[path] = error
        return None


def _size(headers: list[Header], options: DataOptions) -> tuple[int, int]:
    """One height and width for all: what was asked for, or else the median of each."""
    height = sorted(header.height for header in headers)[len(headers) // 2]
    width = sorted(header.width for header in headers)[len(headers) // 2]
    if options.resolution is None:
        return height, width
    check_shrinks(options.resolution, height, width)
    return options.resolution, options.resolution


def _check_memory(count: int, height: int, width: int, channels: int) -> None:
    """All images are in memory while they are cut into parts. Raises DatasetError."""
    needed = count * height * width * channels
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 3:
        raise DatasetError(
            f"{count:,} images of {height}x{width} pixels take {needed / 1e9:,.0f} GB, more than a "
            f"third of this machine's {memory / 1e9:,.0f}: ask for less with --resolution or "
            "--subset"
        )


def _decoded(files: Files, shape: tuple[int, int, int], channels: int, broken: Broken) -> Part:
    """The images that can be read, decoded in this shape, then grey or in colour as asked for."""
    read_channels, height, width = shape
    work = partial(decode, height=height, width=width, channels=read_channels)
    images = np.empty((len(files.paths), *shape), np.uint8)
    kept = []
    for place, path in enumerate(files.paths):
        if path not in broken and (image := _try(work, path, broken)) is not None:
            images[place] = image
            kept.append(place)
    if len(kept) < len(images):
        images = images[kept]
    return Part(with_channels(images, channels), files.labels[kept])


def _check_readable(listing: Listing, raw: Raw) -> None:
    counts = np.bincount(raw.train.labels, minlength=len(listing.classes)).tolist()
    _check_classes(listing.root, dict(zip(listing.classes, counts, strict=True)), 2)
    if not len(raw.test):
        raise DatasetError(f"no test image in {listing.root} can be read: replace them")


def _warning(root: Path, broken: Broken, total: int) -> str:
    names = [str(Path(path).relative_to(root)) for path in broken]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return (
        f"{len(names):,} of {total:,} images cannot be read and are left out: "
        f"{', '.join(names[:3])}{more}"
    )
