"""Open a database by its URL, and say in a sentence why one cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from space.errors import IsoshareError

DEFAULT_URL = "sqlite:///isoshare.db"


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
        engine = create_engine(url, connect_args={"timeout": 30} if sqlite else {})
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(f"no driver for the database {url!r}: {error}") from error
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Readers never wait for the writer, and a killed process loses no finished transaction."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


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
