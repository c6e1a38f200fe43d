"""A store for many readers: what changed since they last looked, in small queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import ScalarSelect, func, or_, select
from sqlalchemy.orm import Session

from isoshare.storage import lease
from isoshare.storage.notes import last_notes, notes_of
from isoshare.storage.reading import records_of, study_id, study_record
from isoshare.storage.records import NoteRecord, RunningDriver, StudyRecord, TrialRecord, TrialState
from isoshare.storage.store import Store
from isoshare.storage.tables import MeasurementRow, StudyRow, TrialRow

MANY = 500
"""More changed trials than this are read with all others, in one query."""


RARE: tuple[TrialState, ...] = ("running", "failed", "stopped")
"""States that are counted one by one; the others of all trials have finished."""
Key = tuple[int, datetime]
"""Which study it is: SQLite gives the number of one that was deleted to the next one."""


@dataclass(frozen=True)
class StudyVersion:
    """One study among all. Who sees the same as before, and no driver, need not read it again.

    trials: how many in all, running, failed and stopped. measurement: the newest one, 0 if there
        has been none since the reader looked first. driver: who runs it, if anybody does.
    noted: when people noted something on it last.
    """

    key: Key
    trials: tuple[int, ...]
    measurement: int
    driver: RunningDriver | None
    noted: datetime | None = None


@dataclass(frozen=True)
class Overview:
    """All studies at a glance, the newest last. measurement: the newest one of all."""

    studies: Mapping[str, StudyVersion] = field(default_factory=dict)
    measurement: int | None = None


@dataclass(frozen=True)
class Cursor:
    """What a reader of a study has: its last measurement, how many trials, which of them run."""

    study: Key | None = None
    measurement: int = 0
    trials: int = 0
    running: Collection[int] = ()


@dataclass(frozen=True)
class Delta:
    """A study now, with the trials that are new or not what they were.

    is_new: the study is another one than the reader has seen, under the same name.
    """

    study: StudyRecord
    seen: Cursor
    is_new: bool
    trials: list[TrialRecord] = field(default_factory=list)
    notes: tuple[NoteRecord, ...] = ()


class WatchedStore(Store):
    """All studies of one database, with narrow reads for readers that ask again and again.

    They see the file that is at its place now, also when it is another one than before.
    """

    follows_file = True

    def overview(self, before: Overview) -> Overview:
        """All studies now; before: what the same reader saw last. Raises StoreError.

        A database that does not exist has none. The cost hardly depends on the number of trials.
        """
        if not self._database.exists():
            return Overview()
        return self._database.read(lambda session: _overview(session, before, self._holder))

    @property
    def lost(self) -> str:
        """The sentence for a database that was there, and was not when it was last asked."""
        return self._database.lost

    def check(self) -> None:
        """Raise StoreError if the database does not answer, or was there and is gone.

        One that nothing was written to yet is all right.
        """
        self._database.check()

    def changes(self, name: str, seen: Cursor) -> Delta:
        """What has happened in a study since ``seen``. Raises StoreError.

        A trial counts as changed when it is new, was running, or has new measurements.
        """

        def work(session: Session) -> Delta:
            row = session.get_one(StudyRow, study_id(session, name))
            stored = study_record(row)
            key = (row.id, stored.created)
            is_new = key != seen.study
            known = Cursor() if is_new else seen
            last = _last_measurement(session, row.id, known)
            changed = _changed(session, row.id, known)
            trials = [] if changed == [] else records_of(session, row.id, changed)
            running = {trial.number for trial in trials if trial.state == "running"}
            count = max((known.trials, *(trial.number + 1 for trial in trials)))
            notes = tuple(notes_of(session, row.id))
            return Delta(stored, Cursor(key, last, count, running), is_new, trials, notes)

        return self._database.read(work)


def _overview(session: Session, before: Overview, holder: lease.Holder) -> Overview:
    newest = session.scalar(select(func.max(MeasurementRow.id))) or 0
    measured = _measured_since(session, before.measurement, newest)
    known = {glance.key: glance.measurement for glance in before.studies.values()}
    drivers, noted = lease.running_drivers(session, holder), last_notes(session)
    states = [_count(state) for state in RARE]
    query = select(StudyRow.name, StudyRow.id, StudyRow.created, _trials(), *states)
    glances = {}
    for name, number, created, *trials in session.execute(query.order_by(StudyRow.id)):
        key = (number, created.replace(tzinfo=UTC))
        measurement = measured.get(number, known.pop(key, 0))
        glances[name] = StudyVersion(
            key, tuple(trials), measurement, drivers.get(number), noted.get(number)
        )
    if known:  # one was deleted, and SQLite may have given its numbers to others: all are news
        glances = {name: replace(one, measurement=newest) for name, one in glances.items()}
    return Overview(glances, newest)


def _measured_since(session: Session, last: int | None, newest: int) -> dict[int, int]:
    """The newest measurement of each study that has one after ``last``."""
    if last is None or newest <= last:
        return {}
    query = (
        select(TrialRow.study_id, func.max(MeasurementRow.id))
        .join(TrialRow, MeasurementRow.trial_id == TrialRow.id)
        .where(MeasurementRow.id > last)
        .group_by(TrialRow.study_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def _trials() -> ScalarSelect[int]:
    """How many trials a study has: they are counted from 0, so the index knows."""
    count = func.coalesce(func.max(TrialRow.number) + 1, 0)
    return select(count).where(TrialRow.study_id == StudyRow.id).scalar_subquery()


def _count(state: TrialState) -> ScalarSelect[int]:
    """How many trials of a study are in a state that few are in."""
    chosen = (TrialRow.study_id == StudyRow.id, TrialRow.state == state)
    return select(func.count()).where(*chosen).correlate(StudyRow).scalar_subquery()


def _last_measurement(session: Session, study: int, seen: Cursor) -> int:
    query = (
        select(func.max(MeasurementRow.id))
        .join(TrialRow, MeasurementRow.trial_id == TrialRow.id)
        .where(TrialRow.study_id == study, MeasurementRow.id > seen.measurement)
    )
    return session.scalar(query) or seen.measurement


def _changed(session: Session, study: int, seen: Cursor) -> list[int] | None:
    """The numbers of the trials that changed; None for very many."""
    measured = select(MeasurementRow.trial_id).where(MeasurementRow.id > seen.measurement)
    query = select(TrialRow.number).where(
        TrialRow.study_id == study,
        or_(
            TrialRow.number >= seen.trials,
            TrialRow.number.in_(seen.running),
            TrialRow.id.in_(measured),
        ),
    )
    numbers = list(session.scalars(query))
    return None if len(numbers) > MANY else numbers
