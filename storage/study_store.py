"""Whole studies of one database: made, listed, renamed, deleted, leased, noted on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Self, TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from isoshare.storage import lease
from isoshare.storage.notes import notes_of, put_note
from isoshare.storage.opening.database import StoreError
from isoshare.storage.opening.messages import taken
from isoshare.storage.opening.sqlite_files import is_in_memory
from isoshare.storage.reading import study_id, study_record, summaries
from isoshare.storage.records import (
    NoteRecord,
    StudyRecord,
    StudySummary,
    TrialRecord,
)
from isoshare.storage.tables import StudyRow, TrialRow
from isoshare.storage.transactions import PATIENCE, Database
from isoshare.storage.writing import insert_trials, same_study, study_row

T = TypeVar("T")


class StudyStore:
    """Whole studies of one database.

    Readers never create anything: a database that does not exist is an error for them, and only
    ``create_study`` and ``restore_study`` make one. What is written to a study whose lease was
    taken is written only while the lease lasts.
    patience: seconds for which a write is tried again when the database is away.
    """

    follows_file: ClassVar[bool] = False

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self._database = Database(url, patience, self.follows_file)
        self._holder = lease.Holder()
        self._leased: set[str] = set()

    def close(self) -> None:
        """Close all connections; the next transaction opens one again."""
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        """``with Store(url) as store``: closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_in_memory(self) -> bool:
        """Whether the studies are gone with this store."""
        return is_in_memory(self._database.url)

    @property
    def waited(self) -> float:
        """For how many seconds somebody has been waiting for the database; 0 if nobody is."""
        return self._database.waited

    def create_study(self, study: StudyRecord) -> None:
        """Add a study. Raises StoreError if its name is taken."""
        self.restore_study(study, tuple)

    def restore_study(self, study: StudyRecord, trials: Callable[[], Iterable[TrialRecord]]) -> int:
        """Add a study with all its trials; returns how many. Raises StoreError if it is there.

        trials: called for each attempt to write them.
        """
        self._database.create()
        tried = False

        def work(session: Session) -> int:
            nonlocal tried
            again, tried = tried, True
            there = session.scalar(select(StudyRow).where(StudyRow.name == study.name))
            if there is None:
                session.add(row := study_row(study))
                session.flush()
                return insert_trials(session, row.id, trials())
            if not (again and same_study(there, study)):
                raise StoreError(taken(study.name))
            query = select(func.count()).where(TrialRow.study_id == there.id)
            return session.scalar(query) or 0  # written by an attempt whose answer was lost

        return self._database.write(work)

    def delete_study(self, name: str) -> None:
        """Remove a study with all its trials. Raises StoreError while a driver runs it."""

        def work(session: Session) -> None:
            study = study_id(session, name, locked=True)
            lease.check_free(session, study, name, self._holder)
            session.execute(delete(StudyRow).where(StudyRow.id == study))

        self._database.write(work)

    def upgrade(self, report: Callable[[str, str], None] = lambda *_: None) -> str:
        """Upgrade the database schema to this version; returns the revision it had.

        report: called for each step with its revision and what it has done. Raises StoreError.
        """
        return self._database.upgrade(report)

    def check_free(self, name: str) -> None:
        """Raise StoreError if the database cannot be opened or has a study of this name."""
        if name in (summary.name for summary in self.studies()):
            raise StoreError(taken(name))

    def check_idle(self, name: str) -> None:
        """Raise StoreError if there is no such study, or if another driver runs it."""

        def work(session: Session) -> None:
            lease.check_free(session, study_id(session, name), name, self._holder)

        self._database.write(work)  # it looks at a row that its owner may be changing

    def take_lease(self, name: str) -> None:
        """Become the only one that writes to a study. Raises StoreError if another driver is."""

        def work(session: Session) -> None:
            study = study_id(session, name, locked=True)
            lease.take(session, study, name, self._holder)

        self._database.write(work)
        self._leased.add(name)

    def renew_lease(self, name: str) -> None:
        """Say that the driver of a study is alive; once, without patience. Raises StoreError."""

        def work(session: Session) -> None:
            lease.renew(session, study_id(session, name), self._holder)

        self._database.write(work, patience=0)

    def release_lease(self, name: str) -> None:
        """Let others write to a study; once, without patience. Raises StoreError."""

        def work(session: Session) -> None:
            lease.release(session, study_id(session, name), self._holder)

        self._leased.discard(name)
        if not self._leased:
            lease.GIVEN_UP.add(self._holder.owner)  # should the database not take it
        self._database.write(work, patience=0)

    def studies(self) -> list[StudySummary]:
        """All studies, the newest last. A database that does not exist yet has none."""
        return self._database.read(summaries) if self._database.exists() else []

    def study(self, name: str) -> StudyRecord:
        """The study of this name. Raises StoreError."""

        def work(session: Session) -> StudyRecord:
            row = session.get_one(StudyRow, study_id(session, name))
            return study_record(row)

        return self._database.read(work)

    def rename_study(self, name: str, new: str) -> None:
        """Give a study another name. Raises StoreError while a driver runs it."""

        def work(session: Session) -> None:
            taken_by = session.scalar(select(StudyRow.id).where(StudyRow.name == new))
            study = study_id(session, name, locked=True)
            if taken_by not in (None, study):
                raise StoreError(taken(new))
            lease.check_free(session, study, name, self._holder)
            session.get_one(StudyRow, study).name = new

        self._database.write(work)

    def notes(self, name: str) -> list[NoteRecord]:
        """What people have noted on a study and its trials. Raises StoreError."""
        return self._database.read(lambda s: notes_of(s, study_id(s, name)))

    def write_note(self, name: str, note: NoteRecord) -> None:
        """Replace the note on a study or on one of its trials. Raises StoreError."""
        self._database.write(lambda s: put_note(s, study_id(s, name), note))
