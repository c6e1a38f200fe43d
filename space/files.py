"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL, EISDIR
from pathlib import Path

from isoshare.space.errors import IsoshareError, short

DEVICE = "it is a device, and only files are written"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to; what lies there gets its name when all went well.

    Otherwise, on a full disk for one, it is removed, and ``path`` stays as it was. A symbolic link
    is followed, as by all who open files. Raises OSError for a folder, or a device such as
    /dev/null, whose place a file would take.
    """
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise OSError(EISDIR, os.strerror(EISDIR))
    if place.exists() and not place.is_file():
        raise OSError(EINVAL, DEVICE)
    half = place.with_name(f"{place.name}.part")
    try:
        yield half
        half.replace(place)
    finally:
        half.unlink(missing_ok=True)


def check_path(path: object) -> None:
    """Raise IsoshareError for what names no file."""
    if not isinstance(path, str | os.PathLike):
        raise IsoshareError(f"a file is named by a str or a pathlib.Path, got {short(path)}")


def check_writable(output: str | Path) -> None:
    """Raise IsoshareError before hours are spent on what cannot be written."""
    check_path(output)
    output = Path(output)
    folder = Path(os.path.realpath(output)).parent
    if not folder.is_dir():
        raise IsoshareError(f"cannot write {output}: there is no folder {folder}")
    if output.is_dir():
        raise IsoshareError(f"cannot write {output}: it is a folder; add the name of a file")
    if output.exists() and not output.is_file():
        raise IsoshareError(f"cannot write {output}: {DEVICE}")
    if not os.access(folder, os.W_OK):
        raise IsoshareError(f"cannot write {output}: the folder {folder} is read-only")
