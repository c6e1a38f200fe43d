"""The only file that opens a session: whole transactions, repeated while a failure may pass.

A commit whose answer was lost may have happened or not. So whatever is written must leave the same
rows when it is written twice: then it is simply written again.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_exponential

from isoshare.storage.database import (
    StoreError,
    WriteError,
    cannot_open,
    cannot_write,
    is_missing_file,
    is_passing,
    let_readers_in,
    make_engine,
    no_database,
    parse_url,
    reading,
    writing,
)
from isoshare.storage.schema import check_revision, create_tables, revision_of, upgrade_tables

PATIENCE = 45.0
"""Seconds for which a failed transaction is tried again: a server may be away for 30."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds; each pause is twice the one before."""

T = TypeVar("T")


class Database:
    """Transactions on one database. Connections may be used from several threads; one that nobody
    closed is closed when the database is not used any more.

    patience: seconds for which a transaction is tried again, once the database was there.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self.url = parse_url(url)
        self.engine: Engine = make_engine(self.url)
        weakref.finalize(self, self.engine.dispose)
        self._patience = patience
        self._usable = False  # whether our tables have been seen: they do not go away again
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
        return self._repeated(lambda: _committed(writing(self.engine), work), seconds)

    def exists(self) -> bool:
        """Whether our tables are there, without creating an empty file to look into.

        Raises StoreError if they are those of another version.
        """
        if not self._usable and not is_missing_file(self.url):
            revision = self._repeated(lambda: _connected(self.engine, revision_of), 0)
            if revision is not None:
                check_revision(revision, self.url)
            self._usable = revision is not None
        return self._usable

    def create(self) -> None:
        """Make the tables if there are none. Raises StoreError if they are of another version."""
        if not self.exists():
            self._repeated(lambda: let_readers_in(self.engine), self._patience)
            self._repeated(lambda: _connected(writing(self.engine), create_tables), self._patience)
        self._open()

    def upgrade(self, report: Callable[[str, str], None]) -> str:
        """Lead the tables to the newest revision; returns the one they had. Raises StoreError."""
        if is_missing_file(self.url):
            raise StoreError(no_database(self.url))
        found = self._repeated(
            lambda: _connected(writing(self.engine), lambda c: upgrade_tables(c, report)), 0
        )
        if found is None:
            raise StoreError(no_database(self.url))
        return found

    def _open(self) -> None:
        if not self.exists():
            raise StoreError(no_database(self.url))

    def _repeated(self, transaction: Callable[[], T], patience: float) -> T:
        """``transaction``, again and again while its failure may pass."""
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_before_delay(patience),
            wait=wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            reraise=True,
        )
        try:
            return attempts(transaction)
        except DBAPIError as error:
            sentence = cannot_write if self._usable else cannot_open
            failure = WriteError if self._usable else StoreError
            raise failure(sentence(self.url, error)) from error
        finally:
            del self._begun[thread]


def _committed(engine: Engine, work: Callable[[Session], T]) -> T:
    with Session(engine, expire_on_commit=False) as session, session.begin():
        return work(session)


def _connected(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and is_passing(error)
