"""Which schema a database has, how a new one is made, and how an old one is upgraded.

A new database is made at the newest revision at once; migrations upgrade an older one, and a
test holds both to be the same. A database that was made before there were migrations has our tables
but no revision: it is the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from isoshare.storage.opening.database import StoreError
from isoshare.storage.tables import Base

NEWEST = "0003"
"""The revision that this version reads and writes; revisions are counted upwards."""
FIRST = "0001"
VERSION_TABLE = "isoshare_version"
MIGRATIONS = Path(__file__).parent / "migrations"

_version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
_LOCK = 4_711_002
"""Any number that is always the same: who makes or upgrades tables in PostgreSQL holds it."""


def revision_of(connection: Connection) -> str | None:
    """The revision of a database; None if it has no tables of ours."""
    inspector = inspect(connection)
    if inspector.has_table(VERSION_TABLE):
        found = connection.scalar(select(_version.c.version_num))
        if found is not None:
            return str(found)
    old = all(inspector.has_table(name) for name in ("study", "trial", "measurement"))
    return FIRST if old else None


def check_revision(revision: str, url: object) -> None:
    """Raise StoreError unless this version can read and write the database."""
    if revision == NEWEST:
        return
    if revision in _earlier():
        raise StoreError(
            f"the database {url!r} was made by an earlier version of Isoshare (schema {revision}, "
            f"now {NEWEST}): upgrade it with 'isoshare upgrade --storage {url!r}'"
        )
    raise StoreError(
        f"the database {url!r} was made by a newer version of Isoshare (schema {revision}, this "
        f"version knows {NEWEST}): use that version, or name another database with --storage"
    )


def create_tables(connection: Connection) -> None:
    """Make all tables at the newest revision in an empty database; otherwise do nothing.

    Needs a writing transaction, so that of several processes one makes them.
    """
    _lock(connection)
    if revision_of(connection) is None:
        Base.metadata.create_all(connection)
        _stamp(connection, NEWEST)


def upgrade_tables(connection: Connection, report: Callable[[str, str], None]) -> str | None:
    """Upgrade the schema to the newest revision; returns the revision it had.

    report: called after each migration with its revision and what it has done. Needs a writing
    transaction: all migrations happen or none. Raises StoreError for a newer database.
    """
    _lock(connection)
    found = revision_of(connection)
    if found in _earlier():
        _migrate(connection, found, report)
    elif found is not None:
        check_revision(found, connection.engine.url)
    return found


def _migrate(connection: Connection, found: str, report: Callable[[str, str], None]) -> None:
    from alembic import command
    from alembic.config import Config

    def applied(step: Any, **_: Any) -> None:
        report(step.up_revision_id, step.up_revision.doc)

    _stamp(connection, found)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, on_version_apply=applied)
    command.upgrade(config, "head")


def _earlier() -> list[str]:
    return [f"{number:04}" for number in range(int(FIRST), int(NEWEST))]


def _stamp(connection: Connection, revision: str) -> None:
    """Note a revision where none is noted yet."""
    _version.create(connection, checkfirst=True)
    if connection.scalar(select(_version.c.version_num)) is None:
        connection.execute(_version.insert().values(version_num=revision))


def _lock(connection: Connection) -> None:
    """Be the only one that changes tables until the transaction ends; SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
