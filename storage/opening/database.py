"""Open a database by its URL, and explain in one sentence why one cannot be used."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool, StaticPool

from isoshare.space.errors import IsoshareError
from isoshare.storage.opening.sqlite_files import (
    is_in_memory,
    is_read_only,
    opener,
    read_only_opener,
    sqlite_file,
)

DEFAULT_URL = "sqlite:///isoshare.db"
BUSY_SECONDS = 30
"""How long a SQLite connection waits for another one."""
CONNECT: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": BUSY_SECONDS},
    # A server that has gone without a word is noticed after seconds; the default is a quarter of
    # an hour.
    "postgresql": {
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    },
}
SNAPSHOT = {"postgresql": "REPEATABLE READ"}
"""What lets a reader see one state of the database in several queries; SQLite does so anyway."""
PASSING_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED")
PASSING_SQLSTATES = ("08", "40", "57P")
"""PostgreSQL: connection lost, serialisation failure, server shut down or starting."""


class StoreError(IsoshareError):
    """A database that cannot be used, or a study that is not, or already, in it."""


class UnknownStudyError(StoreError):
    """There is no study of this name."""


class BusyStudyError(StoreError):
    """Another driver runs the study."""


class WriteError(StoreError):
    """A database no longer accepts writes, or its file is another one."""


class LeaseLostError(WriteError):
    """Another driver has taken over the study: this one must stop writing."""


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
    backend = url.get_backend_name()
    options: dict[str, Any] = {"connect_args": CONNECT.get(backend, {})}
    if is_in_memory(url):  # one connection, as each new one would be an empty database
        options["connect_args"] = {**options["connect_args"], "check_same_thread": False}
        options["poolclass"] = StaticPool
    file = sqlite_file(url)
    read_only = is_read_only(file)
    if read_only:
        options["poolclass"] = NullPool
    try:
        engine = create_engine(url, pool_pre_ping=backend != "sqlite", **options)
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"no driver for the database {url!r}: {error}; for postgresql+psycopg:// "
            "install isoshare[postgresql]"
        ) from error
    if backend == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    if file is not None:
        event.listen(engine, "do_connect", read_only_opener(file) if read_only else opener(file))
    return engine


def writing(engine: Engine) -> Engine:
    """The same connections for transactions that write, from their start on.

    In SQLite one that reads first and writes then would fail at once, without waiting, when another
    one has written in between.
    """
    return engine.execution_options(sqlite_begins="BEGIN IMMEDIATE")


def reading(engine: Engine) -> Engine:
    """The same connections for transactions that see one state of the database."""
    level = SNAPSHOT.get(engine.dialect.name)
    return engine.execution_options(isolation_level=level) if level else engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we begin transactions, not Python's driver
    cursor = connection.cursor()
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    begins = connection.get_execution_options().get("sqlite_begins", "BEGIN")
    if begins:
        connection.exec_driver_sql(begins)


def let_readers_in(engine: Engine) -> None:
    """Put a new SQLite file into WAL mode, where readers never wait for the writer.

    The mode stays with the file. Changing it needs the file for a moment alone; it fails with
    SQLITE_BUSY, without waiting, while another process looks in: try again.
    """
    if engine.dialect.name != "sqlite":
        return
    with engine.connect().execution_options(sqlite_begins="") as connection:
        # A statement whose row nobody has read keeps this connection from committing.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL").close()


def is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed in a moment: a lost connection, a lock."""
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return str(name).startswith(PASSING_SQLITE)
    state = getattr(error.orig, "sqlstate", None)
    lost = state is None and type(error.orig).__name__ in ("OperationalError", "InterfaceError")
    return error.connection_invalidated or lost or str(state).startswith(PASSING_SQLSTATES)


def is_whole(engine: Engine) -> bool | None:
    """What SQLite's quick check says of the file; None where that cannot be asked."""
    if engine.dialect.name != "sqlite":
        return None
    try:
        with engine.connect().execution_options(sqlite_begins="") as connection:
            return connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
    except DBAPIError as error:
        name = str(getattr(error.orig, "sqlite_errorname", ""))
        return False if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) else None
