"""All studies of one database. Records in, records out, one transaction a call.

Every write leaves the same rows when it is made twice: one whose answer was lost is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self, TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from isoshare.storage import lease
from isoshare.storage.database import StoreError, is_in_memory
from isoshare.storage.messages import taken
from isoshare.storage.reading import outcomes_of, records_of, study_id, study_record, summaries
from isoshare.storage.records import (
    MeasurementRecord,
    StudyRecord,
    StudySummary,
    TrialRecord,
    TrialValues,
)
from isoshare.storage.tables import StudyRow, TrialRow
from isoshare.storage.transactions import PATIENCE, Database
from isoshare.storage.writing import add_missing, insert_trials, same_study, study_row, trial_row

T = TypeVar("T")


class Store:
    """All studies of one database.

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
        lease.GIVEN_UP.update({self._holder.owner} if not self._leased else ())  # whatever fails
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

    def trials(self, name: str, numbers: Sequence[int] | None = None) -> list[TrialRecord]:
        """The trials of a study with their measurements, by number. Raises StoreError.

        numbers: only these; those that are not there are left out.
        """
        return self._database.read(lambda s: records_of(s, study_id(s, name), numbers))

    def outcomes(self, name: str, objectives: Sequence[str]) -> list[TrialValues]:
        """These objectives of all trials of a study, by number. Raises StoreError."""
        return self._database.read(lambda s: outcomes_of(s, study_id(s, name), objectives))

    def add_trial(self, name: str, trial: TrialRecord) -> None:
        """Record that a plan is being measured. Raises StoreError if the study has the plan."""

        def work(session: Session, study: int) -> None:
            query = select(TrialRow.number, TrialRow.fingerprint).where(
                TrialRow.study_id == study,
                (TrialRow.number == trial.number)
                | (TrialRow.fingerprint == trial.plan.fingerprint),
            )
            there = [tuple(row) for row in session.execute(query)]
            if not there:
                session.add(trial_row(study, trial))
            elif there != [(trial.number, trial.plan.fingerprint)]:
                raise StoreError(
                    f"study {name!r} has trial {trial.number} or its plan "
                    f"{trial.plan.fingerprint} already: is another search running on it?"
                )

        self._write(name, work)

    def add_measurements(
        self, name: str, number: int, measurements: Sequence[MeasurementRecord], finished: bool
    ) -> None:
        """Record seeds of a trial and, in the same transaction, whether they finished it.

        A seed that is there already, told again after an interruption, changes nothing.
        """

        def change(session: Session, trial: TrialRow) -> None:
            add_missing(session, trial.id, measurements)
            if finished:
                trial.state = "finished"

        self._change(name, number, change)

    def fail_trial(self, name: str, number: int, error: str) -> None:
        """Record that a plan cannot be measured, and why."""

        def change(_: Session, trial: TrialRow) -> None:
            trial.state, trial.error = "failed", error.replace("\0", "")  # PostgreSQL refuses it

        self._change(name, number, change)

    def stop_trial(self, name: str, number: int) -> None:
        """Record that the training of a plan was ended early; its measurements stay."""

        def change(_: Session, trial: TrialRow) -> None:
            trial.state = "stopped"

        self._change(name, number, change)

    def recall_trial(self, name: str, number: int, attempts: int) -> None:
        """Record that a stopped trial goes on, and how often a worker has started on it."""

        def change(_: Session, trial: TrialRow) -> None:
            trial.state, trial.attempts = "running", attempts

        self._change(name, number, change)

    def set_attempts(self, name: str, number: int, attempts: int) -> None:
        """Record how often a worker has started on a trial."""

        def change(_: Session, trial: TrialRow) -> None:
            trial.attempts = attempts

        self._change(name, number, change)

    def set_budget(self, name: str, trials: int) -> None:
        """Change how many trials a study is to have."""
        self.change_study(name, {"trials": trials}, {})

    def change_study(self, name: str, config: dict[str, Any], context: dict[str, Any]) -> None:
        """Replace these entries of the configuration and of the context of a study."""

        def work(session: Session, study: int) -> None:
            row = session.get_one(StudyRow, study)
            row.config = {**row.config, **config}
            row.context = {**row.context, **context}

        self._write(name, work)

    def _write(self, name: str, work: Callable[[Session, int], T]) -> T:
        """``work`` on a study, under its lease if it was taken."""

        def transaction(session: Session) -> T:
            study = study_id(session, name)
            if name in self._leased:
                lease.check_held(session, study, name, self._holder)
            return work(session, study)

        return self._database.write(transaction)

    def _change(self, name: str, number: int, change: Callable[[Session, TrialRow], None]) -> None:
        """Change one trial."""

        def work(session: Session, study: int) -> None:
            query = select(TrialRow).where(TrialRow.study_id == study, TrialRow.number == number)
            trial = session.scalar(query)
            if trial is None:
                raise StoreError(f"study {name!r} has no trial {number}")
            change(session, trial)

        self._write(name, work)
