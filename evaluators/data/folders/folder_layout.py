"""Where the parts and the classes of a folder of images lie, however people have named them.

A part is a folder of class folders that is called train, test or validation in one of many ways.
What is hidden, what archives and notebooks leave behind, and folders around the only folder are
passed by; what cannot be a set of classes is refused with what was found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isoshare.evaluators.data.folders.decoding import SUFFIXES
from isoshare.evaluators.data.splits import DatasetError

PartName = Literal["train", "validation", "test"]
PARTS: dict[str, PartName] = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "validationset", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "tst"), "test"),
}
"""Words in the names of folders."""
LEFTOVERS = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information"}
"""Folders that systems and archives make, in lower case."""
WORDS = re.compile(r"[A-Z]?[a-z]+")
"""Those of ``trainA`` and ``myTestSet``."""
TABLES = {".csv", ".json", ".jsonl", ".mat", ".parquet", ".tsv", ".txt", ".xls", ".xlsx", ".xml"}
ARCHIVES = {".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"}
README = re.compile(r"(read[-_ ]?me|licen[sc]e|requirements|about)", re.IGNORECASE)
PICTURES = {"image", "images", "img", "imgs", "jpegimages", "photos"}
MARKINGS = {
    *("annotations", "label", "labels", "mask", "masks", "trimaps", "ground_truth", "groundtruth"),
    *("segmentation", "segmentations", "bboxes"),
}
"""Folders that say what is where in images, in lower case."""
EXPECTED = "put the images into PATH/CLASS/, or PATH/train/CLASS/ and PATH/test/CLASS/"


@dataclass(frozen=True)
class Layout:
    """Folders that hold one folder for each class; None for a part that is to be cut from train.

    notes: sentences about what was passed by.
    """

    train: Path
    validation: Path | None = None
    test: Path | None = None
    notes: tuple[str, ...] = ()


def find_parts(given: Path) -> Layout:
    """The parts below a folder. Raises DatasetError, OSError."""
    root = _entered(given)
    folders = visible_folders(root)
    named = {folder: name for folder in folders if (name := part_name(folder.name))}
    parts = {
        folder: _entered(folder, name) for folder, name in named.items() if visible_folders(folder)
    }
    others = [folder for folder in folders if folder not in parts and has_images(folder)]
    notes: tuple[str, ...] = (f"the images are in {root}",) if root != given else ()
    if not parts:
        _refuse_unlabelled(root, [folder for folder in others if folder in named], others)
        return Layout(root, notes=notes)
    chosen = _chosen(parts, named)
    unknown = [folder for folder in others if folder not in named]
    if "train" not in chosen or (len(chosen) == 1 and unknown):
        raise DatasetError(_half(root, chosen, unknown))
    if others:
        names = ", ".join(folder.name for folder in others)
        notes += (
            f"left out beside {' and '.join(chosen)}, since it has no class folders or no "
            f"name of a part: {names}",
        )
    return Layout(chosen["train"], chosen.get("validation"), chosen.get("test"), notes)


def part_name(folder: str) -> PartName | None:
    """Which part a folder of this name holds, if its name says so: ``Training_Set``, ``trainA``."""
    words = [*re.split(r"[^a-z]+", folder.lower()), *WORDS.findall(folder)]
    found = {PARTS[word.lower()] for word in words if word.lower() in PARTS}
    return found.pop() if len(found) == 1 else None


def visible_folders(path: Path) -> list[Path]:
    """Sorted by name, without hidden ones, what archives leave behind, and links that lead back up.
    Raises OSError.
    """
    places = [place for place in path.iterdir() if place.is_dir() and not is_leftover(place)]
    return sorted(place for place in places if not leads_up(place))


def leads_up(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    if not (folder.is_symlink() and folder.is_dir()):  # a link to itself is no folder
        return False
    return folder.parent.resolve().is_relative_to(folder.resolve())


def is_leftover(path: Path) -> bool:
    """Whether nobody means a file or folder of this name: hidden, or made by a system."""
    return path.name.startswith(".") or path.name.lower() in LEFTOVERS


def has_images(folder: Path) -> bool:
    """Whether there is an image anywhere in a folder. Raises OSError."""
    return bool(count_images(folder)) or any(map(has_images, visible_folders(folder)))


def count_images(folder: Path) -> int:
    """Image files directly in a folder. Raises OSError."""
    return sum(is_image(place) for place in folder.iterdir())


def is_image(path: Path) -> bool:
    """Whether a file is one by its name."""
    return path.suffix.lower() in SUFFIXES and not is_leftover(path)


def _entered(path: Path, part: PartName | None = None) -> Path:
    """The folder itself, or what lies in the only folder of the only folder...

    part: which one this is; such folders are found within ``seg_train/seg_train``.
    """
    folders = visible_folders(path)
    if len(folders) != 1 or count_images(path) or part_name(folders[0].name) not in {None, part}:
        return path
    is_wrapper = visible_folders(folders[0]) or folders[0].name.lower() in PICTURES
    return _entered(folders[0], part) if is_wrapper else path


def _chosen(parts: dict[Path, Path], named: dict[Path, PartName]) -> dict[str, Path]:
    chosen: dict[str, Path] = {}
    for folder, inner in parts.items():
        if named[folder] in chosen:
            other = next(one for one in parts if named[one] == named[folder])
            raise DatasetError(
                f"{other} and {folder} could both be the {named[folder]} part: rename one, or move "
                "it elsewhere"
            )
        chosen[named[folder]] = inner
    return {name: chosen[name] for name in ("train", "validation", "test") if name in chosen}


def _half(root: Path, chosen: dict[str, Path], others: Sequence[Path]) -> str:
    """The sentence for class folders in what is no whole set."""
    have = " and ".join(f"{path}" for path in chosen.values())
    if "train" not in chosen:
        return (
            f"{have} has class folders but there is no train folder beside it: add one, or name "
            "another folder"
        )
    names = ", ".join(folder.name for folder in others)
    return (
        f"{have} has class folders, but {names} beside it is neither a test nor a validation part: "
        f"call it test, or move it elsewhere, then a fifth of the images of {root} is cut off for "
        "testing"
    )


def _refuse_unlabelled(root: Path, named: Sequence[Path], others: Sequence[Path]) -> None:
    """Raise DatasetError for parts whose images lie in no class folders, and nothing else."""
    if named and len(named) == len(others):
        places = " and ".join(f"{folder.name}/" for folder in named)
        raise DatasetError(
            f"{places} of {root} hold images but no class folders{beside(root, named)}: nothing "
            f"says what they show; {EXPECTED}"
        )


def beside(path: Path, parts: Sequence[Path] = ()) -> str:
    """What else was found in a folder and its parts, in words."""
    images, found = count_images(path), []
    if images:
        found.append(f"{images:,} images in no folder")
    above = [path.parent] if path.name.lower() in PICTURES else []
    markings = [one for one in path.iterdir() if one.is_dir() and one.name.lower() in MARKINGS]
    places = (path, *above, *parts, *markings)
    files = sorted(one for place in places for one in place.iterdir() if not is_leftover(one))
    tables = [one for one in files if one.suffix.lower() in TABLES and not README.match(one.name)]
    found += [f"{one.name}, which is not read" for one in tables[:1]]
    archives = [one for one in files if one.suffix.lower() in ARCHIVES]
    found += [f"{one.name}, which is to be unpacked" for one in archives[:1]]
    return f" ({' and '.join(found)})" if found else ""
