"""All studies of the service: what the database knows of them and what their drivers do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from isoshare.search.pareto import knee
from isoshare.search.service.driver_files import Driver
from isoshare.search.service.errors import Problem
from isoshare.search.service.launching import check_allowed, check_bounds, checked
from isoshare.search.service.models import BestPlan, State, StudyDetail, StudyView
from isoshare.search.service.processes import Drivers, is_alive
from isoshare.search.service.settings import Settings
from isoshare.search.service.study_cache import Mirror, Snapshot
from isoshare.storage.change_feed import Overview, StudyVersion, WatchedStore
from isoshare.storage.records import RunningDriver

LOST = "its driver ended without a word: it was killed, or the machine went down"


class Studies:
    """Reads, launches and stops searches."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = WatchedStore(settings.storage)
        self._drivers = Drivers(settings.folder, settings.storage, settings.searches)
        self._mirrors: dict[str, Mirror] = {}
        self._overview, self._looked_at = Overview(), float("-inf")
        self._alive: list[tuple[str, bool]] = []
        self._changes = 0
        self._lock, self._looking = Lock(), Lock()

    def close(self) -> None:
        """Give the database back; searches go on."""
        self._store.close()

    @property
    def set_aside(self) -> list[Path]:
        """Notes about searches that could not be read, under the names they have now."""
        return self._drivers.files.set_aside

    def check(self) -> None:
        """Raise StoreError if the database does not answer, or was there and is gone."""
        self._store.check()

    @property
    def lost(self) -> str:
        """The sentence for a database that was there and is gone; empty if it is there."""
        return self._store.lost

    def names(self) -> list[str]:
        """All studies, the newest first; also those that are only being prepared."""
        stored = self.stored()
        waiting = [one.study for one in self._drivers.all() if one.study not in stored]
        return [*reversed(waiting), *reversed(list(stored))]

    def stored(self) -> Mapping[str, StudyVersion]:
        """Those that are in the database, the newest last, as they were at the last look."""
        with self._looking:
            if time.monotonic() - self._looked_at > self._settings.max_age:
                self._look()
            return self._overview.studies

    def changes(self) -> int:
        """A number that counts up whenever something has changed in any study."""
        self.stored()
        return self._changes

    def snapshot(self, name: str) -> Snapshot:
        """A study as it is now. Raises Problem if there is none."""
        glance = self.stored().get(name)
        if glance is None:
            raise Problem("not_found", f"there is no study {name!r}: GET /api/v1/studies lists all")
        with self._lock:
            mirror = self._mirrors.setdefault(name, Mirror(self._store, name))
        return mirror.read(glance)

    def detail(self, name: str) -> StudyDetail:
        """A study with its state. Raises Problem if there is none."""
        driver, glance = self._drivers.find(name), self.stored().get(name)
        if driver is not None and glance is None:
            state, message = self._unstored(driver)
            created = datetime.fromisoformat(driver.started)
            return StudyDetail(
                name=name, state=state, message=message, created=created, stopping=driver.stopping
            )
        snapshot, other = self.snapshot(name), _other(driver, glance)
        state, message = ("running", _outside(other)) if other else self._state(snapshot, driver)
        stopping = state == "running" and driver is not None and driver.stopping
        return _detail(snapshot, state, message, stopping=stopping, outside=other is not None)

    def summary(self, name: str) -> StudyView:
        """The same in one line."""
        return StudyView.model_validate(self.detail(name).model_dump(exclude=_ONLY_DETAIL))

    def launch(self, asked: Mapping[str, Any]) -> StudyDetail:
        """Start a search. Raises Problem."""
        config = checked(self._settings, asked, self.names())
        assert config.study is not None, "checked searches have names"
        self._drivers.launch(config.study, {**asked, "study": config.study})
        return self.detail(config.study)

    def resume(self, name: str, changes: Mapping[str, Any]) -> StudyDetail:
        """Let a search go on. Raises Problem."""
        snapshot = self.snapshot(name)
        detail = self.detail(name)
        if detail.outside:
            raise Problem("conflict", f"study {name!r} is running already: {detail.message}")
        config = snapshot.study.config
        check_allowed(self._settings, config.backbone, config.dataset)
        check_bounds(self._settings, changes)
        there, asked = len(snapshot.results.trials), changes.get("trials")
        if asked is not None and asked < there:
            raise Problem(
                "invalid", f"study {name!r} has {there} trials already: trials must be at least so"
            )
        self._drivers.resume(name, {**changes, "backbone": config.backbone})
        return self.detail(name)

    def stop(self, name: str) -> StudyDetail:
        """Interrupt a search as Ctrl-C does. Raises Problem."""
        driver = self._drivers.find(name)
        if driver is None or not is_alive(driver):
            detail = self.detail(name)
            why = detail.message if detail.outside else "there is nothing to stop"
            raise Problem("conflict", f"study {name!r} is {detail.state}: {why}")
        self._drivers.stop(driver)
        return self.detail(name)

    def delete(self, name: str) -> None:
        """Remove a study with all it has measured. Raises Problem, BusyStudyError."""
        driver = self._drivers.find(name)
        if driver is not None and is_alive(driver):
            raise Problem("conflict", f"study {name!r} is being searched: stop it first")
        self.detail(name)
        if name in self.stored():
            self._store.delete_study(name)
        self._looked_at = float("-inf")
        with self._lock:
            self._mirrors.pop(name, None)
        self._drivers.forget(name)

    def _look(self) -> None:
        drivers = self._drivers.all()  # one that has ended is no more in the way of its lease
        overview = self._store.overview(self._overview)
        alive = [(one.started, is_alive(one)) for one in drivers]
        if (overview, alive) != (self._overview, self._alive):
            self._changes += 1
        self._overview, self._alive = overview, alive
        self._looked_at = time.monotonic()

    def _unstored(self, driver: Driver) -> tuple[State, str]:
        if is_alive(driver):
            return "starting", ""
        return "failed", self._drivers.files.complaint(driver.study) or LOST

    def _state(self, snapshot: Snapshot, driver: Driver | None) -> tuple[State, str]:
        if driver is not None and is_alive(driver):
            return "running", ""
        complaint = self._drivers.files.complaint(snapshot.study.name) if driver else ""
        if snapshot.complete or (driver is not None and driver.exit_code == 0):
            failed = not snapshot.results.finished
            return ("failed", complaint or "all trials failed") if failed else ("finished", "")
        if complaint and not complaint.startswith("interrupted"):
            return "failed", complaint
        return "interrupted", LOST if driver is not None and not complaint else ""


_ONLY_DETAIL = set(StudyDetail.model_fields) - set(StudyView.model_fields)


def _other(driver: Driver | None, glance: StudyVersion | None) -> RunningDriver | None:
    """Who runs a study, if it is no driver of this service."""
    ours = driver is not None and is_alive(driver)
    return None if ours or glance is None else glance.driver


def _outside(driver: RunningDriver) -> str:
    return (
        f"it is run by process {driver.process} on {driver.host}, which this service has not "
        "started: stop it there, with Ctrl-C"
    )


def _detail(
    snapshot: Snapshot, state: State, message: str, *, stopping: bool, outside: bool
) -> StudyDetail:
    study, front, counts = snapshot.study, snapshot.results.front, snapshot.counts
    context = study.context
    return StudyDetail(
        name=study.name,
        state=state,
        message=message,
        stopping=stopping,
        outside=outside,
        created=study.created,
        backbone=study.config.backbone,
        dataset=study.config.dataset,
        objectives=[axis.name for axis in front.axes],
        budget=snapshot.budget,
        running=counts.get("running", 0) if state == "running" else 0,
        finished=counts.get("finished", 0),
        failed=counts.get("failed", 0),
        stopped=counts.get("stopped", 0),
        repeats=snapshot.repeats,
        front_size=len(front.members),
        hypervolume=front.hypervolume,
        best=_best(snapshot),
        version=snapshot.version,
        config=study.config.document(),
        unshared=context.unshared,
        plans=str(context.plans),
        reference_point=front.reference_point,
    )


def _best(snapshot: Snapshot) -> BestPlan | None:
    front = snapshot.results.front
    if not front.members:
        return None
    trial = knee(front)
    values = {axis.name: trial.value(axis.name) for axis in front.axes}
    return BestPlan(trial=trial.number, values={k: v for k, v in values.items() if v is not None})
