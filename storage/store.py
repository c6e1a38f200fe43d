"""All studies of one database with their trials. Records in, records out, one transaction a call.

Every write leaves the same rows when it is made twice: one whose answer was lost is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, select, update

from isoshare.storage import lease
from isoshare.storage.opening.database import StoreError
from isoshare.storage.reading import outcomes_of, records_of, study_id
from isoshare.storage.records import MeasurementRecord, TrialRecord, TrialValues
from isoshare.storage.study_store import StudyStore
from isoshare.storage.tables import STUDY
from isoshare.storage.writing import add_missing, add_trial, change_trial, trial_key

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

        def work(connection: Connection, study: int) -> None:
            if not add_trial(connection, study, trial):
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
        changes = {"state": "finished"} if finished else {}
        self._change(name, number, changes, measurements)

    def fail_trial(self, name: str, number: int, error: str) -> None:
        """Record that a plan cannot be measured, and why."""
        said = error.replace("\0", "")  # PostgreSQL refuses it
        self._change(name, number, {"state": "failed", "error": said})

    def stop_trial(self, name: str, number: int) -> None:
        """Record that the training of a plan was ended early; its measurements stay."""
        self._change(name, number, {"state": "stopped"})

    def recall_trial(self, name: str, number: int, attempts: int) -> None:
        """Record that a stopped trial goes on, and how often a worker has started on it."""
        self._change(name, number, {"state": "running", "attempts": attempts})

    def set_attempts(self, name: str, number: int, attempts: int) -> None:
        """Record how often a worker has started on a trial."""
        self._change(name, number, {"attempts": attempts})

    def set_budget(self, name: str, trials: int) -> None:
        """Change how many trials a study is to have."""
        self.change_study(name, {"trials": trials}, {})

    def change_study(self, name: str, config: dict[str, Any], context: dict[str, Any]) -> None:
        """Replace these entries of the configuration and of the context of a study."""

        def work(connection: Connection, study: int) -> None:
            chosen = STUDY.c.id == study
            row = connection.execute(select(STUDY.c.config, STUDY.c.context).where(chosen)).one()
            new = {"config": {**row.config, **config}, "context": {**row.context, **context}}
            connection.execute(update(STUDY).where(chosen), new)

        self._write(name, work)

    def _write(self, name: str, work: Callable[[Connection, int], T]) -> T:
        """``work`` on a study, under its lease if it was taken."""

        def transaction(connection: Connection) -> T:
            is_leased = name in self._leased
            study = lease.held_study(connection, name, self._holder) if is_leased else None
            if study is None:
                study = study_id(connection, name)
                if is_leased:
                    raise lease.lost(connection, study, name)
            return work(connection, study)

        return self._database.write_rows(transaction)

    def _change(
        self,
        name: str,
        number: int,
        changes: dict[str, Any],
        measurements: Sequence[MeasurementRecord] = (),
    ) -> None:
        """Change these columns of one trial, and add measurements to it."""

        def work(connection: Connection, study: int) -> None:
            trial = trial_key(connection, study, number)
            if trial is None:
                raise StoreError(f"study {name!r} has no trial {number}")
            if measurements:
                add_missing(connection, trial, measurements)
            if changes:
                change_trial(connection, trial, changes)

        self._write(name, work)
