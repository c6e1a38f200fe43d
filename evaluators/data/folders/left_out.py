"""What lies beside the images of a folder: counted, so that it can be said."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from isoshare.evaluators.data.folders.decoding import SUFFIXES
from isoshare.evaluators.data.folders.folder_layout import (
    ARCHIVES,
    Layout,
    is_leftover,
    leads_up,
)

UNREADABLE = {
    *(".heic", ".heif", ".jxl", ".ico", ".dds", ".exr", ".hdr", ".pcx", ".sgi", ".psd", ".svg"),
    *(".raw", ".cr2", ".cr3", ".nef", ".dng", ".arw", ".orf", ".raf", ".rw2", ".pdf", ".eps"),
    *(".dcm", ".nii", ".nrrd", ".mha", ".fits", ".tfrecord", ".parquet", ".mkv", ".webm"),
    *(".npy", ".npz", ".mat", ".h5", ".mp4", ".avi", ".mov", *ARCHIVES),
}
"""Files that hold images, in ways that are not read here."""


@dataclass
class LeftOut:
    """What lies beside the images, counted."""

    suffixes: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    links: int = 0
    hidden: int = 0

    def notes(self, unreadable: bool) -> tuple[str, ...]:
        """Sentences about files that hold images in other ways, or about all the rest."""
        kinds = [
            f"{count:,} {suffix or 'without a suffix'}"
            for suffix, count in sorted(self.suffixes.items())
            if (suffix in UNREADABLE) == unreadable
        ]
        listed = ", ".join(kinds)
        if unreadable:
            way_out = f"files of these kinds are not read and left out: {listed}; convert them"
            return (f"{way_out} to JPEG or PNG",) if kinds else ()
        found = [f"left out, no images: {listed}"] if kinds else []
        if self.masks:
            found.append(f"left out, masks beside their images: {self.masks:,}")
        if self.hidden:
            found.append(f"left out, hidden or made by systems: {self.hidden:,}")
        if self.links:
            found.append(f"left out, linked folders: {self.links:,}")
        return tuple(found)


def hidden_above(given: Path, layout: Layout) -> int:
    """Images in hidden folders from the given one down to those that hold the classes."""
    parts = [place for place in (layout.train, layout.validation, layout.test) if place]
    places = {one for part in parts for one in (part, *part.parents) if one.is_relative_to(given)}
    beside = {folder for place in places for folder in place.iterdir() if folder.is_dir()}
    return sum(count_all(folder) for folder in beside if is_leftover(folder))


def links_up(layout: Layout) -> int:
    """Links beside the classes that lead back to a folder above them."""
    parts = [place for place in (layout.train, layout.validation, layout.test) if place]
    return sum(leads_up(folder) for part in parts for folder in part.iterdir())


def instead(folder: Path) -> str:
    """What is in a folder in the place of images that are read, with what to do about it."""
    kinds = Counter(file.suffix.lower() for file in folder.rglob("*") if file.is_file())
    for suffixes, way_out in (
        (ARCHIVES, "to be unpacked"),
        (UNREADABLE, "to be converted to JPEG or PNG"),
        ({""}, "to be given the suffix of what they are"),
    ):
        if known := sorted(kinds.keys() & suffixes):
            listed = ", ".join(f"{kinds[kind]:,} {kind or 'without a suffix'}" for kind in known)
            return f" but for {listed}, which are {way_out}"
    return ""


def count_all(folder: Path) -> int:
    """Images at any depth, by their names, hidden or not."""
    return sum(map(has_suffix, folder.rglob("*")))


def has_suffix(file: Path) -> bool:
    """Whether a file is an image by its name, hidden or not."""
    return file.suffix.lower() in SUFFIXES
