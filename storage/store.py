"""The only file that opens a database session. Records in, records out, one transaction a call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import func, inspect, select
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session, selectinload

from space.plan import SharingPlan
from storage.database import (
    StoreError,
    cannot_open,
    is_missing_file,
    let_readers_in,
    make_engine,
    no_database,
    parse_url,
)
from storage.records import MeasurementRecord, StudyRecord, StudySummary, TrialRecord
from storage.tables import Base, MeasurementRow, StudyRow, TrialRow


class Store:
    """All studies of one database.

    Readers never create anything: a database that does not exist is an error for them, and only
    ``create_study`` makes one.
    """

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._engine = make_engine(self._url)
        self._known = False  # whether the tables have been seen: they do not go away again

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def create_study(self, study: StudyRecord) -> None:
        """Add a study. Raises StoreError if its name is taken."""
        with self._session(creates=True) as session:
            session.add(
                StudyRow(
                    name=study.name,
                    created=study.created,
                    config=study.config,
                    context=study.context,
                )
            )
            try:
                session.flush()
            except IntegrityError as error:
                raise StoreError(_taken(study.name)) from error

    def check_free(self, name: str) -> None:
        """Raise StoreError if the database cannot be opened or has a study of this name."""
        if name in (summary.name for summary in self.studies()):
            raise StoreError(_taken(name))

    def studies(self) -> list[StudySummary]:
        """All studies, the newest last. A database that does not exist yet has none."""
        if not self._exists():
            return []
        with self._session() as session:
            counts = {
                (study, state): number
                for study, state, number in session.execute(
                    select(TrialRow.study_id, TrialRow.state, func.count()).group_by(
                        TrialRow.study_id, TrialRow.state
                    )
                )
            }
            return [
                StudySummary(
                    row.name,
                    row.created.replace(tzinfo=UTC),
                    row.config,
                    counts.get((row.id, "finished"), 0),
                    counts.get((row.id, "failed"), 0),
                    counts.get((row.id, "stopped"), 0),
                )
                for row in session.scalars(select(StudyRow).order_by(StudyRow.id))
            ]

    def study(self, name: str) -> StudyRecord:
        """The study of this name. Raises StoreError."""
        with self._session() as session:
            row = self._study_row(session, name)
            created = row.created.replace(tzinfo=UTC)
            return StudyRecord(row.name, created, row.config, row.context)

    def trials(self, name: str) -> list[TrialRecord]:
        """All trials of a study with their measurements, by number. Raises StoreError."""
        with self._session() as session:
            study = self._study_row(session, name)
            query = (
                select(TrialRow)
                .where(TrialRow.study_id == study.id)
                .options(selectinload(TrialRow.measurements))
                .order_by(TrialRow.number)
            )
            return [_trial(row) for row in session.scalars(query)]

    def add_trial(self, name: str, trial: TrialRecord) -> None:
        """Record that a plan is being measured. Raises StoreError if the study has the plan."""
        with self._session() as session:
            session.add(
                TrialRow(
                    study_id=self._study_row(session, name).id,
                    number=trial.number,
                    fingerprint=trial.plan.fingerprint,
                    banks=trial.plan.documents(),
                    origin=trial.origin,
                    state=trial.state,
                    exact=trial.exact,
                    proposal=trial.proposal,
                    attempts=trial.attempts,
                    error=trial.error,
                )
            )
            try:
                session.flush()
            except IntegrityError as error:
                raise StoreError(
                    f"study {name!r} has trial {trial.number} or its plan "
                    f"{trial.plan.fingerprint} already: is another search running on it?"
                ) from error

    def add_measurements(
        self, name: str, number: int, measurements: Sequence[MeasurementRecord], finished: bool
    ) -> None:
        """Record seeds of a trial and, in the same transaction, whether they finished it.

        A seed that is there already, told again after an interruption, changes nothing.
        """
        with self._session() as session:
            trial = self._trial_row(session, name, number)
            known = {(row.split, row.seed, row.fidelity_key) for row in trial.measurements}
            rows = map(_measurement_row, measurements)
            trial.measurements += [
                row for row in rows if (row.split, row.seed, row.fidelity_key) not in known
            ]
            if finished:
                trial.state = "finished"

    def fail_trial(self, name: str, number: int, error: str) -> None:
        """Record that a plan cannot be measured, and why."""
        with self._session() as session:
            trial = self._trial_row(session, name, number)
            trial.state, trial.error = "failed", error

    def stop_trial(self, name: str, number: int) -> None:
        """Record that the training of a plan was ended early; its measurements stay."""
        with self._session() as session:
            self._trial_row(session, name, number).state = "stopped"

    def count_attempt(self, name: str, number: int) -> int:
        """Record that a worker starts on a trial; return how often that has happened."""
        with self._session() as session:
            trial = self._trial_row(session, name, number)
            trial.attempts += 1
            return trial.attempts

    def set_budget(self, name: str, trials: int) -> None:
        """Change how many trials a study is to have."""
        with self._session() as session:
            study = self._study_row(session, name)
            study.config = {**study.config, "trials": trials}

    @contextmanager
    def _session(self, creates: bool = False) -> Iterator[Session]:
        try:
            if creates:
                let_readers_in(self._engine)
                Base.metadata.create_all(self._engine)
            elif not self._known and not self._exists():
                raise StoreError(no_database(self._url))
            self._known = True
            with Session(self._engine) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise StoreError(cannot_open(self._url, error)) from error

    def _exists(self) -> bool:
        """Whether the database has our tables, without creating an empty file to look into."""
        if is_missing_file(self._url):
            return False
        try:
            return inspect(self._engine).has_table(StudyRow.__tablename__)
        except DatabaseError as error:
            raise StoreError(cannot_open(self._url, error)) from error

    def _study_row(self, session: Session, name: str) -> StudyRow:
        row = session.scalar(select(StudyRow).where(StudyRow.name == name))
        if row is None:
            names = session.scalars(select(StudyRow.name).order_by(StudyRow.id)).all()
            raise StoreError(_unknown_study(name, names))
        return row

    def _trial_row(self, session: Session, name: str, number: int) -> TrialRow:
        query = (
            select(TrialRow)
            .join(StudyRow, TrialRow.study_id == StudyRow.id)
            .where(StudyRow.name == name, TrialRow.number == number)
        )
        row = session.scalar(query)
        if row is None:
            raise StoreError(f"study {name!r} has no trial {number}")
        return row


def _trial(row: TrialRow) -> TrialRecord:
    return TrialRecord(
        number=row.number,
        plan=SharingPlan.from_documents(row.banks),
        origin=row.origin,
        state=row.state,
        exact=row.exact,
        proposal=row.proposal,
        attempts=row.attempts,
        error=row.error,
        measurements=tuple(_measurement(measured) for measured in row.measurements),
    )


def _measurement(row: MeasurementRow) -> MeasurementRecord:
    return MeasurementRecord(
        row.seed,
        row.split,
        row.fidelity,
        row.values,
        row.seconds,
        row.conditions,
        row.stored.replace(tzinfo=UTC),
    )


def _measurement_row(measurement: MeasurementRecord) -> MeasurementRow:
    return MeasurementRow(
        split=measurement.split,
        seed=measurement.seed,
        fidelity_key=json.dumps(measurement.fidelity, sort_keys=True),
        fidelity=measurement.fidelity,
        values=measurement.values,
        seconds=measurement.seconds,
        conditions=measurement.conditions,
        stored=datetime.now(UTC).replace(tzinfo=None),
    )


def _taken(name: str) -> str:
    return (
        f"study {name!r} exists already: resume it with 'run_search.py resume {name}', "
        "or choose another --study"
    )


def _unknown_study(name: str, known: Sequence[str]) -> str:
    shown = ", ".join(known[-6:]) if known else "none yet; 'run_search.py launch' makes one"
    return f"unknown study {name!r}: the database has {shown}"
