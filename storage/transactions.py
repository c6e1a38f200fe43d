"""The only file that opens a session: whole transactions, repeated while a failure may pass.

A commit whose answer was lost may have happened or not. So whatever is written must leave the same
rows when it is written twice: then it is simply written again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_exponential

from isoshare.storage.opening.database import (
    StoreError,
    WriteError,
    is_passing,
    is_whole,
    let_readers_in,
    make_engine,
    parse_url,
    reading,
    writing,
)
from isoshare.storage.opening.messages import (
    cannot_open,
    cannot_write,
    cut_off,
    file_changed,
    no_database,
    vanished,
)
from isoshare.storage.opening.sqlite_files import (
    FileIdentity,
    file_identity,
    is_cut_off,
    is_missing_file,
    sqlite_file,
)
from isoshare.storage.schema import check_revision, create_tables, revision_of, upgrade_tables

PATIENCE = 45.0
"""Seconds for which a failed transaction is tried again: a server may be away for 30."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds; each pause is twice the one before."""
WRITING_SECONDS = 0.5
"""So long may a file be shorter than its header says before it is not opened."""

T = TypeVar("T")


class Database:
    """Transactions on one database. Connections may be used from several threads; one that nobody
    closed is closed when the database is not used any more.

    A SQLite file may be deleted, or replaced by another one, while it is in use: connections that
    are open would go on with a file that nobody else sees any more. So each transaction looks
    first. patience: seconds for which a transaction is tried again, once the database was there.
    follows_file: whether a new file under the same name is opened in its place, as a service
    does that only shows what is there; otherwise, as for a running search, that is an error.
    """

    def __init__(self, url: str, patience: float = PATIENCE, follows_file: bool = False) -> None:
        self.url = parse_url(url)
        self.engine: Engine = make_engine(self.url)
        self._writing = writing(self.engine)
        weakref.finalize(self, self.engine.dispose)
        self._patience = patience
        self._usable = False  # whether our tables have been seen in this file
        self._was_seen = False  # or in one that was at its place before
        self._follows_file = follows_file
        self._file: FileIdentity | None = None
        self._lost_file = ""  # the sentence, once the file is another one
        self._begun: dict[int, float] = {}  # when the transaction of each thread has begun

    @property
    def waited(self) -> float:
        """For how many seconds a transaction has been under way or tried again; 0 if none is."""
        begun = tuple(self._begun.values())
        return time.monotonic() - min(begun) if begun else 0.0

    def read(self, work: Callable[[Session], T]) -> T:
        """``work`` on one state of the database. Raises StoreError."""
        self._open()
        return self._repeated(lambda: _committed(reading(self.engine), work), self._patience)

    def write(self, work: Callable[[Session], T], patience: float | None = None) -> T:
        """``work``, committed as a whole; it may be called again. Raises StoreError.

        patience: seconds for which it is tried again, if not those of the database.
        """
        self._open()
        seconds = self._patience if patience is None else patience
        return self._repeated(lambda: _committed(self._writing, work), seconds)

    def write_rows(self, work: Callable[[Connection], T]) -> T:
        """``write`` for statements alone, without mapped objects: several times as fast."""
        self._open()
        return self._repeated(lambda: _connected(self._writing, work), self._patience)

    def exists(self) -> bool:
        """Whether our tables are there, without creating an empty file to look into.

        Raises StoreError if they are those of another version.
        """
        self._check_file()
        if not self._usable and not is_missing_file(self.url):
            self._wait_for_a_whole_file()
            # In one state: tables that appear while it looks have no revision yet, as old ones.
            revision = self._repeated(lambda: _connected(reading(self.engine), revision_of), 0)
            if revision is not None:
                check_revision(revision, self.url)
            self._usable = revision is not None
            self._file = file_identity(self.url) if self._usable else None
            self._was_seen |= self._usable
        return self._usable

    def check(self) -> None:
        """Ask the database for something. Raises StoreError if it does not answer, or is gone."""
        if self.exists():
            self._repeated(lambda: _connected(self.engine, revision_of), 0)
        elif self.lost:
            raise StoreError(self.lost)

    @property
    def lost(self) -> str:
        """The sentence for a database that was there, and was not when it was last asked."""
        return vanished(self.url) if self._was_seen and not self._usable else ""

    def create(self) -> None:
        """Make the tables if there are none. Raises StoreError if they are of another version."""
        if not self.exists():
            self._begin_file()
            self._repeated(lambda: let_readers_in(self.engine), self._patience)
            self._repeated(lambda: _connected(self._writing, create_tables), self._patience)
        self._open()

    def _begin_file(self) -> None:
        file = sqlite_file(self.url)
        if file is not None:
            with suppress(OSError):  # opening it will tell
                file.touch()

    def upgrade(self, report: Callable[[str, str], None]) -> str:
        """Upgrade the schema to the newest revision; returns the one it had. Raises StoreError."""
        if is_missing_file(self.url):
            raise StoreError(no_database(self.url))
        found = self._repeated(
            lambda: _connected(self._writing, lambda c: upgrade_tables(c, report)), 0
        )
        if found is None:
            raise StoreError(no_database(self.url))
        return found

    def _wait_for_a_whole_file(self) -> None:
        """Raise StoreError if it stays cut off: who writes it back from its log needs a moment."""
        until = time.monotonic() + WRITING_SECONDS
        while is_cut_off(self.url):
            if time.monotonic() > until:
                raise StoreError(cut_off(self.url))
            time.sleep(FIRST_PAUSE)

    def _check_file(self) -> None:
        """Let go of a file that is not the one at its place any more. Raises WriteError."""
        if self._lost_file:
            raise WriteError(self._lost_file)
        if self._file is None or file_identity(self.url) == self._file:
            return
        if not self._follows_file:
            self._lost_file = file_changed(self.url, save_lost_file(self.engine, self.url))
        self.engine.dispose()
        self._usable, self._file = False, None
        if self._lost_file:
            raise WriteError(self._lost_file)

    def _open(self) -> None:
        if not self.exists():
            raise StoreError(no_database(self.url))

    def _repeated(self, transaction: Callable[[], T], patience: float) -> T:
        """``transaction``, again and again while its failure may pass."""
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            return _attempts(patience)(transaction)
        except DBAPIError as error:
            raise self._failure(error) from error
        finally:
            del self._begun[thread]

    def _failure(self, error: DBAPIError) -> StoreError:
        if not self._usable:
            return StoreError(cannot_open(self.url, error))
        return WriteError(cannot_write(self.url, error, is_whole(self.engine)))


def save_lost_file(engine: Engine, url: URL) -> Path | None:
    """Copy a SQLite database whose file is gone through a connection that still has it open."""
    file = sqlite_file(url)
    assert file is not None, "only files have an identity"
    target = file.with_name(f"{file.stem}-saved-{time.strftime('%Y%m%dT%H%M%S')}{file.suffix}")
    try:
        with closing(engine.raw_connection()) as pooled, closing(sqlite3.connect(target)) as copy:
            connection = cast("sqlite3.Connection", pooled.driver_connection)
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise OSError("a new connection: it has no tables")
            connection.backup(copy)
    except (sqlite3.Error, DBAPIError, OSError):
        target.unlink(missing_ok=True)
        return None
    return target


def _committed(engine: Engine, work: Callable[[Session], T]) -> T:
    with Session(engine, expire_on_commit=False) as session, session.begin():
        return work(session)


def _connected(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


@lru_cache(16)
def _attempts(patience: float) -> Retrying:
    """Calls again and again what fails in a way that may pass, for so many seconds."""
    return Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_before_delay(patience),
        wait=wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and is_passing(error)
