"""SQLite databases as files: which file it is, whether it is there and whole, how it is opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import URL

FileIdentity = tuple[int, int]
"""Device and inode."""

Opener = Callable[..., sqlite3.Connection]
"""Listens to "do_connect" of an engine."""
HEADER_BYTES = 100
_CAN_ASK = os.access in os.supports_effective_ids


def is_in_memory(url: URL) -> bool:
    """Whether the database lasts as long as its connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database; None for other databases and for those in memory."""
    if url.get_backend_name() != "sqlite" or is_in_memory(url):
        return None
    return Path(str(url.database))


def file_identity(url: URL) -> FileIdentity | None:
    """Which file a SQLite database is now: another one under the same name differs.

    None without a file, so for a database that is gone, in memory, or on a server.
    """
    file = sqlite_file(url)
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def is_missing_file(url: URL) -> bool:
    """Whether there is no file yet, or an empty one, which somebody may be about to fill."""
    file = sqlite_file(url)
    if file is None or not file.parent.exists():
        return False
    try:
        return file.stat().st_size == 0
    except OSError:
        return True


def is_cut_off(url: URL) -> bool:
    """Whether a SQLite file is shorter than its header says, as one that is being copied here.

    To open it then may destroy it: SQLite writes the log that lies beside it into a file whose
    pages are overwritten a moment later (https://sqlite.org/fileformat.html, section 1.3). It is
    asked as a file that does not change, so that it leaves the log alone. It must be SQLite that
    looks: whoever else opens the file and closes it takes away the locks of all connections of
    this process (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    file = sqlite_file(url)
    try:
        if file is None or not file.is_file():
            return False
        if file.stat().st_size < HEADER_BYTES:
            return True
        with closing(sqlite3.connect(_address(file, "mode=ro&immutable=1"), uri=True)) as unchanged:
            pages = unchanged.execute("PRAGMA page_count").fetchone()[0]
            page = unchanged.execute("PRAGMA page_size").fetchone()[0]
        return bool(file.stat().st_size < pages * page)
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorname == "SQLITE_CORRUPT"
    except OSError:
        return False  # whoever opens it is told why that cannot be done


def is_read_only(file: Path | None) -> bool:
    """Whether a SQLite file is there whose folder takes no files, so that SQLite cannot lock it."""
    if file is None or not file.exists():
        return False
    return not os.access(file.absolute().parent, os.W_OK, effective_ids=_CAN_ASK)


def opener(file: Path) -> Opener:
    """Opens a file that is there. SQLite would make an empty one in place of a file that has just
    been taken away, and delete the log that still lies beside it.
    """

    def connect(
        dialect: Any,  # noqa: ARG001  SQLAlchemy's names
        record: Any,  # noqa: ARG001
        arguments: Any,  # noqa: ARG001
        options: Mapping[str, Any],
    ) -> sqlite3.Connection:
        made: sqlite3.Connection = sqlite3.connect(_address(file, "mode=rw"), uri=True, **options)
        return made

    return connect


def read_only_opener(file: Path) -> Opener:
    """Opens a file for reading.

    Where no other process has the file open, it is read as one that does not change. Where one has,
    the log beside it is read, too.
    """

    def connect(*_: Any) -> sqlite3.Connection:
        log = Path(f"{file}-wal")
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        return sqlite3.connect(_address(file, mode), uri=True, check_same_thread=False)

    return connect


def _address(file: Path, mode: str) -> str:
    return f"file:{quote(str(file.absolute()))}?{mode}"
