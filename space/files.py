"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to; what lies there gets its name when all went well.

    Otherwise, on a full disk for one, it is removed, and ``path`` stays as it was.
    """
    half = Path(f"{path}.part")
    try:
        yield half
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
