"""Which folders of a part are classes, where several could be.

Names that a person reads as one are refused, and so are folders that look like parts or folds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from isoshare.evaluators.data.folders.folder_layout import (
    EXPECTED,
    MARKINGS,
    PICTURES,
    beside,
    count_images,
    part_name,
    visible_folders,
)
from isoshare.evaluators.data.splits import DatasetError
from isoshare.space.errors import listed

NUMBERED = re.compile(r"[a-z]*[-_ ]?\d+", re.IGNORECASE)
"""Names such as ``fold1``, ``split_2`` and ``3``."""


def class_folders(path: Path, least: int = 2) -> list[Path]:
    """The class folders of a part. Raises DatasetError, OSError."""
    folders = visible_folders(path)
    names = {folder.name.lower() for folder in folders}
    if names & PICTURES and names & MARKINGS:
        pair = " and ".join(sorted(names & (PICTURES | MARKINGS)))
        raise DatasetError(
            f"{path} holds {pair}, as sets for detection and segmentation do, and no class "
            f"folders, and what is trained here is a classifier: {EXPECTED}; for another task name "
            "a function of your own with --evaluator"
        )
    if len(folders) < least:
        raise DatasetError(
            f"an image folder needs two or more class folders, {path} has {len(folders)}"
            f"{beside(path)}: {EXPECTED}"
        )
    alike = {plain_name(folder.name): folder.name for folder in folders}
    if twice := next((one for one in folders if alike[plain_name(one.name)] != one.name), None):
        raise DatasetError(
            f"class folders {twice.name!r} and {alike[plain_name(twice.name)]!r} of {path} differ "
            "in case, spaces or the code of an accent alone: put their images together, or rename "
            "one"
        )
    _refuse_crossed(path, folders)
    return folders


def plain_name(folder: str) -> str:
    """The name of a class as a person reads it: some systems keep é as e and its accent, and
    capitals and spaces at the ends are easily written otherwise.
    """
    return unicodedata.normalize("NFC", folder).lower().strip()


def said_of_crossed(classes: Iterable[Path]) -> Iterator[str]:
    """The sentence about classes that all hold the same folders, which may be the classes too."""
    folders = list(classes)
    common = sorted(_in_all(folders))
    if len(common) > 1 and not all(map(NUMBERED.fullmatch, common)):
        yield (
            f"each class holds folders {listed(common, 6)}, which are taken together: if those are "
            f"the classes, {EXPECTED}"
        )


def _refuse_crossed(path: Path, folders: Sequence[Path]) -> None:
    """Raise DatasetError for ``fold1/cat`` and ``cat/train``: folders that are called classes here
    all hold the same folders, and either those are the classes, or these are parts.
    """
    common = _in_all(folders)
    if len(common) < 2:
        return
    inner = " and ".join(sorted(common)[:2])
    if any(map(part_name, common)):
        raise DatasetError(
            f"{folders[0]} and the others beside it hold folders {inner}, as classes do that are "
            f"divided into parts each: {EXPECTED}"
        )
    if all(NUMBERED.fullmatch(folder.name) for folder in folders):
        raise DatasetError(
            f"{folders[0].name}, {folders[1].name} of {path} all hold folders {inner}, so they are "
            f"no classes but folds of one set: {EXPECTED}, or name one of them alone"
        )


def _in_all(folders: Sequence[Path]) -> set[str]:
    """The names of folders that are in each of these; none if one of these holds images itself."""
    common: set[str] = set()
    for place, folder in enumerate(folders):
        names = set() if count_images(folder) else {one.name for one in visible_folders(folder)}
        common = names if place == 0 else common & names
        if len(common) < 2:
            return set()
    return common
