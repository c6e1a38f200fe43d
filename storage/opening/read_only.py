"""Opening SQLite files that nobody may write: in a folder, or on a disk, that is read-only."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import event
from sqlalchemy.engine import Engine


def is_read_only(file: Path | None) -> bool:
    """Whether a SQLite file is there whose folder takes no files, so that SQLite cannot lock it."""
    if file is None or not file.exists():
        return False
    return not os.access(file.absolute().parent, os.W_OK, effective_ids=_CAN_ASK)


def open_read_only(engine: Engine, file: Path) -> None:
    """Make an engine open its file for reading, anew for each transaction.

    Where no other process has the file open, it is read as one that does not change. Where one has,
    the log beside it is read, too.
    """

    def connect(*_: Any) -> sqlite3.Connection:
        log = Path(f"{file}-wal")
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        address = f"file:{quote(str(file.absolute()))}?{mode}"
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    event.listen(engine, "do_connect", connect)


_CAN_ASK = os.access in os.supports_effective_ids
