"""Folders of images, one folder a class: PATH/train/CLASS and PATH/test/CLASS, or PATH/CLASS.

Files are listed first (folder_listing.py). Images are decoded only when the cache does not have
them, and only those of the subset.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from isoshare.evaluators.data.duplicates import find_duplicates
from isoshare.evaluators.data.folders.decoding import Header, bits_of, decode, read_header
from isoshare.evaluators.data.folders.folder_listing import (
    Files,
    Listing,
    check_counts,
    list_folder,
)
from isoshare.evaluators.data.pixels import check_shrinks, with_channels
from isoshare.evaluators.data.splits import (
    DataOptions,
    DatasetError,
    Images,
    Part,
    Raw,
    Source,
    stratified_subset,
)
from isoshare.space.errors import listed

T = TypeVar("T")
Broken = dict[str, Exception]
EXAMPLES = 3
"""Names of files in a sentence."""
DARK = 63
"""Of 255, what colours of 14 bits come to in files of 16."""


def folder_source(root: Path, options: DataOptions) -> Source:
    """The images below ``root``. Raises DatasetError for a folder that holds no two classes."""
    listing = list_folder(root)
    return Source(listing.state(), partial(_read, listing, options))


def _read(listing: Listing, options: DataOptions) -> Raw:
    files = _chosen(listing, options.subset)
    broken: Broken = {}
    paths = [path for part in files.values() for path in part.paths]
    headers = [header for path in paths if (header := _try(read_header, path, broken))]
    if not headers:
        raise DatasetError(
            f"none of the {len(paths):,} images in {listing.root} can be read: "
            f"{next(iter(broken.values()))}"
        )
    height, width = _size(headers, options)
    shape = (1 if all(header.is_grey for header in headers) else 3, height, width)
    _check_memory(len(headers), *shape)
    work = partial(decode, height=height, width=width, channels=shape[0], bits=bits_of(headers))
    read = {name: _decoded(part, work, shape, broken) for name, part in files.items()}
    _check_readable(listing, read)
    warnings = [*listing.warnings, *_unread(listing.root, broken, len(paths))]
    warnings += _dark(read["train"][0])
    for name in [name for name in read if name != "train"]:
        warnings += _repeated(listing.root, read, name)
    parts = {
        name: Part(with_channels(images, options.channels or shape[0]), found.labels)
        for name, (images, found) in read.items()
    }
    return Raw(
        **parts,
        warnings=tuple(warnings),
        class_names=listing.classes,
        notes=(*listing.notes, *_brought_alike(headers, height, width)),
    )


def _chosen(listing: Listing, subset: int | None) -> dict[str, Files]:
    """The files of each part."""
    train = listing.train
    if subset is not None:
        train = train.take(stratified_subset(train.labels, subset))
    held_out = {} if listing.validation is None else {"validation": listing.validation}
    return {"train": train, **held_out, "test": listing.test}


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


def _check_memory(count: int, channels: int, height: int, width: int) -> None:
    """All images are in memory while they are cut into parts. Raises DatasetError."""
    needed = count * height * width * channels
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 3:
        raise DatasetError(
            f"{count:,} images of {height}x{width} pixels take {needed / 1e9:,.0f} GB, more than a "
            f"third of this machine's {memory / 1e9:,.0f}: ask for less with --resolution or "
            "--subset"
        )


def _decoded(
    files: Files, work: Callable[[str], Images], shape: tuple[int, ...], broken: Broken
) -> tuple[Images, Files]:
    """The images that can be read, (n, *shape), and their files."""
    images = np.empty((len(files.paths), *shape), np.uint8)
    kept = []
    for place, path in enumerate(files.paths):
        if path not in broken and (image := _try(work, path, broken)) is not None:
            images[place] = image
            kept.append(place)
    index = np.array(kept, np.int64)
    return (images[index] if len(kept) < len(images) else images), files.take(index)


def _check_readable(listing: Listing, read: Mapping[str, tuple[Images, Files]]) -> None:
    labels = read["train"][1].labels
    counts = np.bincount(labels, minlength=len(listing.classes)).tolist()
    needed = 2 if listing.validation is None else 1
    check_counts(listing.root, dict(zip(listing.classes, counts, strict=True)), needed)
    for name, (images, _) in read.items():
        if not len(images):
            raise DatasetError(f"no {name} image in {listing.root} can be read: replace them")


def _unread(root: Path, broken: Broken, total: int) -> Iterator[str]:
    if broken:
        names = [_short(root, path) for path in broken]
        yield (
            f"{len(names):,} of {total:,} images cannot be read and are left out: "
            f"{listed(names, EXAMPLES)}"
        )


def _repeated(root: Path, read: Mapping[str, tuple[Images, Files]], name: str) -> Iterator[str]:
    """The sentence about images of a part that are among the training images too."""
    (known, known_files), (asked, asked_files) = read["train"], read[name]
    pairs, equal = find_duplicates(known, asked)
    if pairs:
        both = [
            f"{_short(root, asked_files.paths[one])} = {_short(root, known_files.paths[other])}"
            for one, other in pairs
        ]
        yield (
            f"{len(pairs):,} of {len(asked):,} {name} images are among the training images too, "
            f"{equal:,} exactly and {len(pairs) - equal:,} nearly, so what is measured on them is "
            f"memory: {listed(both, EXAMPLES)}"
        )


def _dark(images: Images) -> Iterator[str]:
    """The sentence about pixels that all lie at the lower end: Pillow gives colours of 16 bits as
    their upper 8, and of 12 bits in such files little is left; masks hold the numbers of classes.
    """
    if (most := int(images.max())) <= DARK:
        yield (
            f"no pixel of the training images is above {most} of 255, so there is hardly anything "
            "to see: write the files with 8 bits and their full contrast"
        )


def _brought_alike(headers: list[Header], height: int, width: int) -> Iterator[str]:
    """What was done to bring all images to one form, in sentences."""
    others = sum((header.height, header.width) != (height, width) for header in headers)
    if others:
        yield (
            f"brought to {height}x{width} pixels, whatever their proportions: "
            f"{others:,} of {len(headers):,} images"
        )
    deep = sum(header.is_deep for header in headers)
    if deep:
        yield f"read as {bits_of(headers)} bits a pixel, by the largest value: {deep:,} deep images"


def _short(root: Path, path: str) -> str:
    name = str(Path(path).relative_to(root))
    return "".join(letter if letter.isprintable() else "?" for letter in name)
