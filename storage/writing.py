"""Records as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from isoshare.storage.records import MeasurementRecord, StudyRecord, TrialRecord
from isoshare.storage.tables import MEASUREMENT, TRIAL, MeasurementRow, StudyRow, TrialRow

AT_ONCE = 500
"""So many trials are inserted by one statement when a whole study is."""
OF_STUDY = TRIAL.c.study_id == bindparam("study")
SAME_TRIAL = select(TRIAL.c.number, TRIAL.c.fingerprint).where(
    OF_STUDY,
    or_(TRIAL.c.number == bindparam("trial"), TRIAL.c.fingerprint == bindparam("plan")),
)
KEY = select(TRIAL.c.id).where(OF_STUDY, TRIAL.c.number == bindparam("trial"))
MEASURED = select(MEASUREMENT.c.split, MEASUREMENT.c.seed, MEASUREMENT.c.fidelity_key).where(
    MEASUREMENT.c.trial_id == bindparam("trial")
)
CHANGE = update(TRIAL).where(TRIAL.c.id == bindparam("trial"))
NEW_TRIAL, NEW_MEASUREMENT = insert(TRIAL), insert(MEASUREMENT)


def study_row(study: StudyRecord) -> StudyRow:
    """A new row for a study."""
    created = study.created.astimezone(UTC).replace(tzinfo=None)
    config, context = study.config.document(), study.context.document()
    return StudyRow(name=study.name, created=created, config=config, context=context)


def same_study(row: StudyRow, study: StudyRecord) -> bool:
    """Whether a row is what an earlier attempt to write this study has left."""
    new = study_row(study)
    return (row.created, row.config, row.context) == (new.created, new.config, new.context)


def add_trial(connection: Connection, study_id: int, trial: TrialRecord) -> bool:
    """Insert a trial without measurements, unless this very one is there; False if its number or
    its plan belongs to another one.
    """
    mark = trial.number, trial.plan.fingerprint
    asked = {"study": study_id, "trial": mark[0], "plan": mark[1]}
    there = [tuple(row) for row in connection.execute(SAME_TRIAL, asked)]
    if not there:
        connection.execute(NEW_TRIAL, _trial_values(study_id, trial))
    return not there or there == [mark]


def trial_key(connection: Connection, study_id: int, number: int) -> int | None:
    """The key of the trial of this number, if there is one."""
    return connection.execute(KEY, {"study": study_id, "trial": number}).scalar()


def change_trial(connection: Connection, trial_id: int, changes: dict[str, Any]) -> None:
    """Replace these columns of a trial."""
    connection.execute(CHANGE, {"trial": trial_id, **changes})


def add_missing(
    connection: Connection, trial_id: int, measurements: Sequence[MeasurementRecord]
) -> None:
    """Insert the measurements that are not there yet."""
    known = {tuple(row) for row in connection.execute(MEASURED, {"trial": trial_id})}
    rows = [_measurement_values(trial_id, one) for one in measurements]
    new = [r for r in rows if (r["split"], r["seed"], r["fidelity_key"]) not in known]
    if new:
        connection.execute(NEW_MEASUREMENT, new)


def insert_trials(session: Session, study_id: int, trials: Iterable[TrialRecord]) -> int:
    """Insert new trials with their measurements; returns how many."""
    rest, total = iter(trials), 0
    while some := list(islice(rest, AT_ONCE)):
        rows = [_trial_values(study_id, trial) for trial in some]
        made = insert(TrialRow).returning(TrialRow.id, sort_by_parameter_order=True)
        ids = session.scalars(made, rows).all()
        measured = [
            _measurement_values(trial_id, one)
            for trial_id, trial in zip(ids, some, strict=True)
            for one in trial.measurements
        ]
        if measured:
            session.execute(insert(MeasurementRow), measured)
        total += len(some)
    return total


def _trial_values(study_id: int, trial: TrialRecord) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "number": trial.number,
        "fingerprint": trial.plan.fingerprint,
        "banks": trial.plan.stored,
        "origin": trial.origin,
        "state": trial.state,
        "exact": trial.exact,
        "proposal": trial.proposal,
        "attempts": trial.attempts,
        "error": trial.error,
    }


def _measurement_values(trial_id: int, measurement: MeasurementRecord) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "split": measurement.split,
        "seed": measurement.seed,
        "fidelity_key": json.dumps(measurement.fidelity, sort_keys=True),
        "fidelity": measurement.fidelity,
        "values": measurement.values,
        "seconds": measurement.seconds,
        "conditions": measurement.conditions,
        "stored": (measurement.stored or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None),
    }
