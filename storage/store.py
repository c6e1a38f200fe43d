"""All studies of one database with their trials. Records in, records out, one transaction a call.

Every write leaves the same rows when it is made twice: one whose answer was lost is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from isoshare.storage import lease
from isoshare.storage.opening.database import StoreError
from isoshare.storage.reading import outcomes_of, records_of, study_id
from isoshare.storage.records import MeasurementRecord, TrialRecord, TrialValues
from isoshare.storage.study_store import StudyStore
from isoshare.storage.tables import StudyRow, TrialRow
from isoshare.storage.writing import add_missing, trial_row

T = TypeVar("T")


class Store(StudyStore):
    """All studies of one database with their trials.

    What is written to a study whose lease was taken is written only while the lease lasts.
    """

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
