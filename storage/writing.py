"""Records as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from isoshare.storage.records import MeasurementRecord, StudyRecord, TrialRecord
from isoshare.storage.tables import MeasurementRow, StudyRow, TrialRow

AT_ONCE = 500
"""So many trials are inserted by one statement when a whole study is."""


def study_row(study: StudyRecord) -> StudyRow:
    """A new row for a study."""
    created = study.created.astimezone(UTC).replace(tzinfo=None)
    config, context = study.config.document(), study.context.document()
    return StudyRow(name=study.name, created=created, config=config, context=context)


def same_study(row: StudyRow, study: StudyRecord) -> bool:
    """Whether a row is what an earlier attempt to write this study has left."""
    new = study_row(study)
    return (row.created, row.config, row.context) == (new.created, new.config, new.context)


def trial_row(study_id: int, trial: TrialRecord) -> TrialRow:
    """A new row for a trial, without its measurements."""
    return TrialRow(**_trial_values(study_id, trial))


def add_missing(session: Session, trial_id: int, measurements: Sequence[MeasurementRecord]) -> None:
    """Insert the measurements that are not there yet."""
    keys = (MeasurementRow.split, MeasurementRow.seed, MeasurementRow.fidelity_key)
    query = select(*keys).where(MeasurementRow.trial_id == trial_id)
    known = {tuple(row) for row in session.execute(query)}
    rows = [_measurement_values(trial_id, one) for one in measurements]
    new = [r for r in rows if (r["split"], r["seed"], r["fidelity_key"]) not in known]
    if new:
        session.execute(insert(MeasurementRow), new)


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
