"""Rows as records. Columns are read, not mapped objects: that is several times as fast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC
from itertools import groupby
from math import ceil
from operator import itemgetter
from statistics import fmean
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import Session

from isoshare.space.plan import SharingPlan
from isoshare.storage.opening.database import UnknownStudyError
from isoshare.storage.opening.messages import unknown_study
from isoshare.storage.records import (
    MeasurementRecord,
    StudyRecord,
    StudySummary,
    TrialRecord,
    TrialValues,
)
from isoshare.storage.study_values import StudyConfig
from isoshare.storage.tables import STUDY, MeasurementRow, StudyRow, TrialRow

TRIAL = (
    TrialRow.id,
    TrialRow.number,
    TrialRow.banks,
    TrialRow.origin,
    TrialRow.state,
    TrialRow.exact,
    TrialRow.proposal,
    TrialRow.attempts,
    TrialRow.error,
)
MEASUREMENT = (
    MeasurementRow.trial_id,
    MeasurementRow.seed,
    MeasurementRow.split,
    MeasurementRow.fidelity,
    MeasurementRow.values,
    MeasurementRow.seconds,
    MeasurementRow.conditions,
    MeasurementRow.stored,
)


def study_record(row: StudyRow) -> StudyRecord:
    """A study from its row."""
    created = row.created.replace(tzinfo=UTC)
    return StudyRecord.read(row.name, created, row.config, row.context)


def summaries(session: Session) -> list[StudySummary]:
    """All studies with the numbers of their trials, the newest last."""
    per_state = select(TrialRow.study_id, TrialRow.state, func.count()).group_by(
        TrialRow.study_id, TrialRow.state
    )
    counts = {(study, state): number for study, state, number in session.execute(per_state)}
    return [
        StudySummary(
            row.name,
            row.created.replace(tzinfo=UTC),
            StudyConfig.read(row.config),
            counts.get((row.id, "finished"), 0),
            counts.get((row.id, "failed"), 0),
            counts.get((row.id, "stopped"), 0),
            _repeats(session, row.id, row.config),
        )
        for row in session.execute(
            select(StudyRow.id, StudyRow.name, StudyRow.created, StudyRow.config).order_by(
                StudyRow.id
            )
        )
    ]


def _repeats(session: Session, study_id: int, config: Mapping[str, Any]) -> int:
    """How often plans of a study were measured again; most searches do not."""
    if not config.get("repeats"):
        return 0
    seeds = (
        select(func.count(MeasurementRow.seed.distinct()))
        .join(TrialRow)
        .where(
            _of_study(study_id), TrialRow.state == "finished", MeasurementRow.split == "validation"
        )
        .group_by(TrialRow.id)
    )
    return sum(ceil(count / config["replicates"]) - 1 for count in session.scalars(seeds))


def records_of(session: Session, study_id: int, numbers: Sequence[int] | None) -> list[TrialRecord]:
    """The trials of a study, or those of these numbers, with all their measurements."""
    chosen = _of_study(study_id)
    if numbers is not None:
        chosen &= TrialRow.number.in_(numbers)
    measured = defaultdict(list)
    query = select(*MEASUREMENT).join(TrialRow).where(chosen).order_by(MeasurementRow.id)
    for row in session.execute(query):
        fields = row._asdict()
        fields["stored"] = row.stored.replace(tzinfo=UTC)
        measured[fields.pop("trial_id")].append(MeasurementRecord(**fields))
    rows = session.execute(select(*TRIAL).where(chosen).order_by(TrialRow.number))
    return [
        TrialRecord(
            row.number,
            SharingPlan.restored(row.banks),
            row.origin,
            row.state,
            row.exact,
            row.proposal,
            row.attempts,
            row.error,
            tuple(measured[row.id]),
        )
        for row in rows
    ]


def outcomes_of(session: Session, study_id: int, objectives: Sequence[str]) -> list[TrialValues]:
    """What is compared of all trials of a study, without their plans."""
    exact = (TrialRow.exact[objective].as_float() for objective in objectives)
    query = select(TrialRow.number, TrialRow.state, *exact).where(_of_study(study_id))
    rows = session.connection().execute(query.order_by(TrialRow.number)).all()
    columns: dict[str, dict[int, float]] = {}
    for place, objective in enumerate(objectives, start=2):
        known = {row[0]: row[place] for row in rows if row[place] is not None}
        columns[objective] = known or _means(session, study_id, objective)
    return [
        TrialValues(
            number,
            state,
            {name: known[number] for name, known in columns.items() if number in known},
        )
        for number, state, *_ in rows
    ]


def _means(session: Session, study_id: int, objective: str) -> dict[int, float]:
    """The mean over the seeds of each trial, each at its last epoch, as ``TrialRecord.value``."""
    value = MeasurementRow.values[objective].as_float()
    epochs = func.coalesce(MeasurementRow.fidelity["epochs"].as_float(), 0)
    query = (
        select(TrialRow.number, MeasurementRow.seed, value)
        .join(TrialRow)
        .where(_of_study(study_id), MeasurementRow.split == "validation", value.is_not(None))
        .order_by(MeasurementRow.trial_id, MeasurementRow.seed, epochs)
    )
    rows = session.connection().execute(query)  # plain rows: there are hundreds of thousands
    return {
        number: fmean({seed: measured for _, seed, measured in of_trial}.values())
        for number, of_trial in groupby(rows, itemgetter(0))
    }


def _of_study(study_id: int) -> ColumnElement[bool]:
    return TrialRow.study_id == study_id


def study_id(session: Session | Connection, name: str, locked: bool = False) -> int:
    """The key of the study of this name; locked: until the end of the transaction. Raises
    UnknownStudyError.
    """
    query = select(STUDY.c.id).where(STUDY.c.name == name)
    found: int | None = session.scalar(query.with_for_update() if locked else query)
    if found is None:
        names = session.scalars(select(STUDY.c.name).order_by(STUDY.c.id)).all()
        raise UnknownStudyError(unknown_study(name, names))
    return found
