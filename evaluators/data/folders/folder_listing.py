"""The image files of a folder with their labels, and what lies beside them and is left out.

Listing costs little and shows whether anything has changed: nothing is decoded here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoshare.evaluators.data.folders.class_folders import (
    class_folders,
    plain_name,
    said_of_crossed,
)
from isoshare.evaluators.data.folders.decoding import SUFFIXES
from isoshare.evaluators.data.folders.folder_layout import (
    MARKINGS,
    find_parts,
    is_image,
    is_leftover,
)
from isoshare.evaluators.data.folders.left_out import (
    LeftOut,
    count_all,
    has_suffix,
    hidden_above,
    instead,
    links_up,
)
from isoshare.evaluators.data.splits import (
    TEST_FRACTION,
    DatasetError,
    Index,
    Labels,
    stratified_indices,
)
from isoshare.space.errors import listed

MASK = re.compile(r"([-_ ](gt|seg|segmentation|labels?)|[-_ ]?masks?)([-_ ]?\d+)?$", re.IGNORECASE)


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
    """The files of a folder; classes in alphabetical order.

    validation: None where it is to be cut from train. notes: sentences about what was left out;
    warnings: those about images.
    """

    root: Path
    classes: tuple[str, ...]
    train: Files
    test: Files
    validation: Files | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All files."""
        held_out = self.validation.paths if self.validation else ()
        return (*self.train.paths, *held_out, *self.test.paths)

    def state(self) -> str:
        """Names, sizes and times of all files, as a digest."""
        digest = hashlib.sha256(os.fsencode(self.root))
        for path in self.paths:
            try:
                status = Path(path).stat()
                stamp = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:  # a link to nothing: reading it will count it as broken
                stamp = "gone"
            digest.update(os.fsencode(path) + f"\0{stamp}\0".encode())
        return digest.hexdigest()


def list_folder(given: Path) -> Listing:
    """The image files of a folder; where it has no test part, a fifth of each class is one.

    Raises DatasetError.
    """
    left_out = LeftOut()
    try:
        layout = find_parts(given)
        left_out.hidden, left_out.links = hidden_above(given, layout), links_up(layout)
        found = _class_files(layout.train, left_out)
        crossed = tuple(said_of_crossed(layout.train / name for name in found))
        others = {
            place: _same_classes(
                place, _class_files(place, left_out, 1), layout.train, tuple(found)
            )
            for place in (layout.validation, layout.test)
            if place
        }
    except OSError as error:
        raise DatasetError(
            f"cannot read the image folder {given}: {error.strerror}; check folder:PATH"
        ) from error
    classes = tuple(found)
    needed = 1 + (layout.validation is None) + (layout.test is None)
    check_counts(layout.train, {name: len(paths) for name, paths in found.items()}, needed)
    train = _labelled(found, classes)
    held_out = _labelled(others[layout.validation], classes) if layout.validation else None
    if layout.test:
        test = _labelled(others[layout.test], classes)
    else:
        kept, cut = stratified_indices(train.labels, TEST_FRACTION, "test")
        train, test = train.take(kept), train.take(cut)
    notes = (*layout.notes, *crossed, *left_out.notes(unreadable=False))
    warnings = (*left_out.notes(unreadable=True), *_lacking(classes, held_out, test))
    return Listing(given, classes, train, test, held_out, notes, warnings)


def _lacking(classes: Sequence[str], held_out: Files | None, test: Files) -> Iterator[str]:
    """The sentences about classes of which a part has no image."""
    for part, files in (("validation", held_out), ("test", test)):
        present = set(files.labels.tolist()) if files else set(range(len(classes)))
        if lacking := [name for label, name in enumerate(classes) if label not in present]:
            yield (
                f"the {part} images show {len(present)} of {len(classes)} classes, so nothing is "
                f"measured on the others: {listed(lacking, 6)}"
            )


def check_counts(place: Path, counts: dict[str, int], needed: int) -> None:
    """Every class needs an image in every part. Raises DatasetError."""
    for name, count in counts.items():
        if count < needed:
            raise DatasetError(
                f"class {name!r} of {place} needs {needed} readable images or more, one to train "
                f"on and one for each part that is cut off, it has {count}: add some or remove it"
            )


def _class_files(path: Path, left_out: LeftOut, least: int = 2) -> dict[str, list[str]]:
    """Class to its image files, at any depth. Raises OSError, DatasetError."""
    folders = class_folders(path, least)
    found = {folder.name: _image_files(folder, left_out) for folder in folders}
    for name, paths in found.items():
        if not paths:
            raise DatasetError(
                f"class {name!r} is empty{instead(path / name)}: {path / name} has no file that "
                f"ends in {', '.join(SUFFIXES)}; add images or remove the folder"
            )
    return found


def _image_files(folder: Path, left_out: LeftOut) -> list[str]:
    def fail(error: OSError) -> None:
        raise error

    paths: list[str] = []
    for place, folders, names in os.walk(folder, onerror=fail):
        _keep_visible(Path(place), folders, names, left_out)
        files = [Path(place, name) for name in names if not is_leftover(Path(name))]
        left_out.hidden += sum(map(has_suffix, map(Path, names))) - sum(map(has_suffix, files))
        images = [file for file in files if is_image(file)]
        left_out.suffixes.update(file.suffix.lower() for file in files if not is_image(file))
        stems = {file.stem for file in images}
        masks = {file for file in images if _marked(file.stem) in stems}
        left_out.masks += len(masks)
        paths += [f"{place}{os.sep}{file.name}" for file in images if file not in masks]
    return sorted(paths)


def _keep_visible(place: Path, folders: list[str], names: list[str], left_out: LeftOut) -> None:
    """Take out of ``folders`` what is not to be entered."""
    linked = [name for name in folders if (place / name).is_symlink()]
    left_out.links += len(linked)
    hidden = {name for name in folders if is_leftover(Path(name))}
    left_out.hidden += sum(count_all(place / name) for name in hidden)
    passed_by = hidden | set(linked)
    marked = {name for name in folders if name.lower() in MARKINGS}
    if len(marked) < len(folders) or any(is_image(Path(name)) for name in names):
        left_out.masks += sum(count_all(place / name) for name in marked)
        passed_by |= marked
    folders[:] = sorted(set(folders) - passed_by)


def _marked(stem: str) -> str | None:
    """The stem of the image that an image of this stem is a mask of, if its name says so."""
    return stem[: found.start()] if (found := MASK.search(stem)) else None


def _same_classes(
    place: Path, found: dict[str, list[str]], train: Path, classes: tuple[str, ...]
) -> dict[str, list[str]]:
    """Files by the names that the classes have in the training part. Raises DatasetError."""
    names = {plain_name(name): name for name in classes}
    for name in found:
        if plain_name(name) not in names:
            raise DatasetError(
                f"class {name!r} is in {place} but not in {train}: every class needs images to "
                f"train on; add some, or remove it from {place.name}"
            )
    return {names[plain_name(name)]: paths for name, paths in found.items()}


def _labelled(found: dict[str, list[str]], classes: tuple[str, ...]) -> Files:
    paths = tuple(path for files in found.values() for path in files)
    labels = np.array([classes.index(name) for name in found], np.int64)
    return Files(paths, np.repeat(labels, [len(files) for files in found.values()]))
