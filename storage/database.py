"""Open a database by its URL, and say in a sentence why one cannot be used."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from space.errors import IsoshareError

DEFAULT_URL = "sqlite:///isoshare.db"
BUSY_SECONDS = 30
"""How long a SQLite connection waits for another one."""


class StoreError(IsoshareError):
    """A database that cannot be used, or a study that is not, or already, in it."""


def default_url() -> str:
    """The database when none is named: ISOSHARE_STORAGE, or a file in the current folder."""
    return os.environ.get("ISOSHARE_STORAGE", DEFAULT_URL)


def parse_url(url: str) -> URL:
    """The parts of a database URL. Raises StoreError."""
    try:
        return make_url(url)
    except ArgumentError as error:
        raise StoreError(
            f"not a database URL: {url!r}; write sqlite:///FILE or postgresql+psycopg://..."
        ) from error


def make_engine(url: URL) -> Engine:
    """Connections to a database; nothing is opened yet. Raises StoreError without a driver."""
    sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS} if sqlite else {})
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(f"no driver for the database {url!r}: {error}") from error
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def let_readers_in(engine: Engine) -> None:
    """Put a new SQLite file into WAL mode, where readers never wait for the writer.

    The mode stays with the file. Changing it needs the file for a moment alone and does not wait
    for that by itself, so it is tried again while another process looks in.
    """
    if engine.dialect.name != "sqlite":
        return
    deadline = time.monotonic() + BUSY_SECONDS
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while True:
            try:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)


def is_missing_file(url: URL) -> bool:
    """Whether opening the database would create it."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return False
    file = Path(str(url.database))
    return file.parent.exists() and not file.exists()


def no_database(url: URL) -> str:
    """The sentence for a reader whose database is not there."""
    return f"no studies in {url!r}: launch a search first, or name another database with --storage"


def cannot_open(url: URL, error: DatabaseError) -> str:
    """The sentence for a database that answers with an error; a password is not shown."""
    reason = str(error.orig).strip().splitlines()[0]
    return f"cannot use the database {url!r}: {reason}; check --storage (or ISOSHARE_STORAGE)"
