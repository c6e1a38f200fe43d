"""A study as the service answers it: what is stored, and how it stands."""

from __future__ import annotations

from datetime import datetime

from isoshare.search.pareto import knee
from isoshare.search.service.models import BestPlan, StudyDetail
from isoshare.search.service.runs.driver_files import Driver
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.search.service.studies.study_state import Standing
from isoshare.storage.records import NoteRecord


def unstored_detail(driver: Driver, standing: Standing) -> StudyDetail:
    """A search of which nothing is in the database."""
    return StudyDetail(
        name=driver.study,
        state=standing.state,
        message=standing.message,
        created=datetime.fromisoformat(driver.started),
        stopping=driver.stopping and standing.state == "starting",
        stopped_by=_stopped_by(driver, standing),
        launched_by=driver.by,
        option=standing.option,
    )


def stored_detail(
    snapshot: Snapshot, standing: Standing, driver: Driver | None, *, outside: bool
) -> StudyDetail:
    """A study; outside: whether a driver runs it that this service has not started."""
    study, front, counts = snapshot.study, snapshot.results.front, snapshot.counts
    running = standing.state == "running"
    note = snapshot.notes.get(None, NoteRecord(None))
    return StudyDetail(
        name=study.name,
        state=standing.state,
        message=standing.message,
        stopping=running and driver is not None and driver.stopping and not outside,
        stopped_by=_stopped_by(driver, standing),
        outside=outside,
        created=study.created,
        backbone=study.config.backbone,
        dataset=study.config.dataset,
        objectives=[axis.name for axis in front.axes],
        budget=snapshot.budget,
        running=counts.get("running", 0) if running else 0,
        finished=counts.get("finished", 0),
        failed=counts.get("failed", 0),
        stopped=counts.get("stopped", 0),
        repeats=snapshot.repeats,
        front_size=len(front.members),
        hypervolume=front.hypervolume,
        best=_best(snapshot),
        version=snapshot.version,
        config=study.config.document(),
        unshared=study.context.unshared,
        plans=str(study.context.plans),
        reference_point=front.reference_point,
        seconds_left=snapshot.seconds_left if running else None,
        sharing=snapshot.sharing,
        launched_by=driver.by if driver else "",
        gains=list(snapshot.gains),
        option=standing.option,
        note=note.text,
        tags=list(note.tags),
    )


def _stopped_by(driver: Driver | None, standing: Standing) -> str | None:
    if driver is None or not driver.stopping or standing.state != "interrupted":
        return None
    return driver.stopped_by or "you"


def _best(snapshot: Snapshot) -> BestPlan | None:
    front = snapshot.results.front
    if not front.members:
        return None
    trial = knee(front)
    values = {axis.name: trial.value(axis.name) for axis in front.axes}
    return BestPlan(trial=trial.number, values={k: v for k, v in values.items() if v is not None})
