"""A store that many readers watch: what has changed since they last looked, by small queries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from storage.reading import records_of
from storage.records import StudyRecord, TrialRecord
from storage.store import Store, study_id
from storage.tables import MeasurementRow, StudyRow, TrialRow

MANY = 500
"""More changed trials than this are read with all others, in one query."""


@dataclass(frozen=True)
class Seen:
    """What a reader of a study has: its last measurement, how many trials, which of them run."""

    study: int = 0
    measurement: int = 0
    trials: int = 0
    running: Collection[int] = ()


@dataclass(frozen=True)
class Changes:
    """A study now, with the trials that are new or not what they were.

    is_new: the study is another one than the reader has seen, under the same name.
    """

    study: StudyRecord
    seen: Seen
    is_new: bool
    trials: list[TrialRecord] = field(default_factory=list)


class WatchedStore(Store):
    """All studies of one database, with narrow reads for readers that ask again and again."""

    def names(self) -> list[str]:
        """The names of all studies, the newest last. A database that does not exist has none."""
        if not self._database.exists():
            return []
        query = select(StudyRow.name).order_by(StudyRow.id)
        return self._database.read(lambda session: list(session.scalars(query)))

    def changes(self, name: str, seen: Seen) -> Changes:
        """What has happened in a study since ``seen``. Raises StoreError.

        A trial counts as changed when it is new, was running, or has new measurements.
        """

        def work(session: Session) -> Changes:
            row = session.get_one(StudyRow, study_id(session, name))
            stored = StudyRecord(row.name, row.created.replace(tzinfo=UTC), row.config, row.context)
            is_new = row.id != seen.study
            known = Seen() if is_new else seen
            last = _last_measurement(session, row.id, known)
            changed = _changed(session, row.id, known)
            trials = [] if changed == [] else records_of(session, row.id, changed)
            running = {trial.number for trial in trials if trial.state == "running"}
            count = max((known.trials, *(trial.number + 1 for trial in trials)))
            return Changes(stored, Seen(row.id, last, count, running), is_new, trials)

        return self._database.read(work)


def _last_measurement(session: Session, study: int, seen: Seen) -> int:
    query = (
        select(func.max(MeasurementRow.id))
        .join(TrialRow, MeasurementRow.trial_id == TrialRow.id)
        .where(TrialRow.study_id == study, MeasurementRow.id > seen.measurement)
    )
    return session.scalar(query) or seen.measurement


def _changed(session: Session, study: int, seen: Seen) -> list[int] | None:
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
