"""One service for each folder of ``--state`` and database: a second one is refused.

Two would not know of each other's searches: each reads the notes about them once, when it starts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from isoshare.space.errors import IsoshareError

NAME = "service.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for this process until the end of the block; the system gives it back where
    the process is killed. Raises IsoshareError if another process holds it.

    Where nothing can be written, as on a full disk, nothing is held: no search can start there.
    """
    file = _opened(folder)
    if file is None:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IsoshareError(_refusal(folder, file)) from None
        except OSError:  # a file system without locks
            pass
        with suppress(OSError):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
        yield


def _opened(folder: Path) -> BinaryIO | None:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / NAME).open("a+b")
    return None


def _refusal(folder: Path, file: BinaryIO) -> str:
    file.seek(0)
    process = file.read(20).decode(errors="replace")
    return (
        f"another service{f' (process {process})' if process else ''} serves this database and "
        f"keeps its files in {folder.parent}: use that one, name another folder with --state, or "
        "only show the studies with --read-only"
    )
