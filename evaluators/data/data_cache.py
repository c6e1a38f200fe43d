"""Arrays on disk that are made once: every process of a machine maps the same files.

An entry is a folder of ``.npy`` files and one of facts. It is written under another name and then
renamed, so that there is all of it or nothing, however many processes write it and wherever they
are stopped. Entries may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]

DAY = 24 * 3600.0


def cache_folder() -> Path:
    """ISOSHARE_CACHE, or where the platform keeps what can be made again.

    Raises OSError where there is no home folder.
    """
    if given := os.environ.get("ISOSHARE_CACHE"):
        return Path(given).absolute()
    try:
        return user_cache_path("isoshare", appauthor=False)
    except RuntimeError as error:
        raise OSError("there is no home folder: set ISOSHARE_CACHE") from error


def fetch(key: str) -> tuple[Arrays, Facts] | None:
    """The entry of this key, its arrays mapped and not read, or None if there is no whole one.

    The arrays can be written to without changing the files: torch warns of arrays that cannot.
    """
    try:
        folder = _entries() / key
        facts = json.loads((folder / "facts.json").read_text())
        arrays = {name: _mapped(folder / f"{name}.npy") for name in facts["arrays"]}
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return arrays, facts


def store(key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write an entry, unless another process has. Raises OSError and leaves nothing behind."""
    entries = _entries()
    entries.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(entries)
    with tempfile.TemporaryDirectory(prefix="half-", dir=entries) as half:
        entry = Path(half, key)
        entry.mkdir()
        for name, array in arrays.items():
            _save_array(entry / f"{name}.npy", array)
        (entry / "facts.json").write_text(json.dumps({**facts, "arrays": list(arrays)}))
        try:
            entry.rename(entries / key)
        except OSError:
            if fetch(key) is None:  # what has the name is no entry: put it away
                (entries / key).rename(Path(half, "broken"))
                entry.rename(entries / key)


def checkpoint_folder(study: str) -> Path | None:
    """Where the checkpoints of a study lie; None where there is no home folder."""
    with suppress(OSError):
        return cache_folder() / "checkpoints" / (re.sub(r"[^\w-]+", "-", study) or "-")
    return None


def _entries() -> Path:
    return cache_folder() / "prepared"


def _mapped(path: Path) -> NDArray[Any]:
    # As a plain array, because a memmap is pickled by copying it into the message: workers would
    # each unpack a copy of their own instead of sharing the one in Ray's object store.
    return np.asarray(np.load(path, mmap_mode="c"))


def _save_array(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())  # or a crash of the machine leaves a file with holes


def _remove_abandoned(entries: Path) -> None:
    """Killed processes leave half an entry behind."""
    for half in entries.glob("half-*"):
        with suppress(FileNotFoundError):  # another process was not killed but ready
            if time.time() - half.stat().st_mtime > DAY:
                shutil.rmtree(half, ignore_errors=True)
