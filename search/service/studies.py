"""All studies of the service: what the database knows of them and what their drivers do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from threading import Lock
from typing import Any

from search.results.pareto import knee
from search.service.drivers import Driver, Drivers, is_alive
from search.service.errors import Problem
from search.service.launching import check_allowed, checked, command_line
from search.service.mirror import Mirror, Snapshot
from search.service.models import BestPlan, State, StudyDetail, StudySummary
from search.service.settings import Settings
from storage.watched_store import WatchedStore

LOST = "its driver ended without a word: it was killed, or the machine went down"


class Studies:
    """Reads, launches and stops searches."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = WatchedStore(settings.storage)
        self._drivers = Drivers(settings.folder, settings.storage, settings.searches)
        self._mirrors: dict[str, Mirror] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Give the database back; searches go on."""
        self._store.close()

    def names(self) -> list[str]:
        """All studies, the newest first; also those that are only being prepared."""
        stored = self._store.names()
        waiting = [one.study for one in self._drivers.all() if one.study not in stored]
        return [*reversed(waiting), *reversed(stored)]

    def stored(self) -> list[str]:
        """Those that are in the database, the newest first."""
        return self._store.names()[::-1]

    def snapshot(self, name: str) -> Snapshot:
        """A study as it is now. Raises Problem if there is none."""
        if name not in self._store.names():
            raise Problem("not_found", f"there is no study {name!r}: GET /api/v1/studies lists all")
        with self._lock:
            mirror = self._mirrors.get(name)
            if mirror is None:
                mirror = Mirror(self._store, name, self._settings.max_age)
                self._mirrors[name] = mirror
        return mirror.read()

    def detail(self, name: str) -> StudyDetail:
        """A study with its state. Raises Problem if there is none."""
        driver = self._drivers.find(name)
        if driver is not None and name not in self._store.names():
            state, message = self._unstored(driver)
            created = datetime.fromisoformat(driver.started)
            return StudyDetail(
                name=name, state=state, message=message, created=created, stopping=driver.stopping
            )
        snapshot = self.snapshot(name)
        state, message = self._state(snapshot, driver)
        stopping = state == "running" and driver is not None and driver.stopping
        return _detail(snapshot, state, message, stopping)

    def summary(self, name: str) -> StudySummary:
        """The same in one line."""
        return StudySummary.model_validate(self.detail(name).model_dump(exclude=_ONLY_DETAIL))

    def launch(self, asked: Mapping[str, Any]) -> StudyDetail:
        """Start a search. Raises Problem."""
        config = checked(self._settings, asked, self.names())
        assert config.study is not None, "checked searches have names"
        arguments = command_line({**asked, "study": config.study})
        self._drivers.start(config.study, "launch", arguments)
        return self.detail(config.study)

    def resume(self, name: str, changes: Mapping[str, Any]) -> StudyDetail:
        """Let a search go on. Raises Problem."""
        snapshot = self.snapshot(name)
        config = snapshot.study.config
        check_allowed(self._settings, config["backbone"], config["dataset"])
        there, asked = len(snapshot.results.trials), changes.get("trials")
        if asked is not None and asked < there:
            raise Problem(
                "invalid", f"study {name!r} has {there} trials already: trials must be at least so"
            )
        line = command_line({**changes, "backbone": config["backbone"]})
        self._drivers.start(name, "resume", [*line, "--", name])
        return self.detail(name)

    def stop(self, name: str) -> StudyDetail:
        """Interrupt a search as Ctrl-C does. Raises Problem."""
        driver = self._drivers.find(name)
        if driver is None or not is_alive(driver):
            detail = self.detail(name)
            raise Problem("conflict", f"study {name!r} is {detail.state}: nothing to stop")
        self._drivers.stop(driver)
        return self.detail(name)

    def delete(self, name: str) -> None:
        """Remove a study with all it has measured. Raises Problem."""
        driver = self._drivers.find(name)
        if driver is not None and is_alive(driver):
            raise Problem("conflict", f"study {name!r} is being searched: stop it first")
        self.detail(name)
        if name in self._store.names():
            self._store.delete_study(name)
        with self._lock:
            self._mirrors.pop(name, None)
        self._drivers.forget(name)

    def _unstored(self, driver: Driver) -> tuple[State, str]:
        if is_alive(driver):
            return "starting", ""
        return "failed", self._drivers.complaint(driver.study) or LOST

    def _state(self, snapshot: Snapshot, driver: Driver | None) -> tuple[State, str]:
        if driver is not None and is_alive(driver):
            return "running", ""
        complaint = self._drivers.complaint(snapshot.study.name) if driver else ""
        if snapshot.complete or (driver is not None and driver.exit_code == 0):
            failed = not snapshot.results.finished
            return ("failed", complaint or "all trials failed") if failed else ("finished", "")
        if complaint and not complaint.startswith("interrupted"):
            return "failed", complaint
        return "interrupted", LOST if driver is not None and not complaint else ""


_ONLY_DETAIL = set(StudyDetail.model_fields) - set(StudySummary.model_fields)


def _detail(snapshot: Snapshot, state: State, message: str, stopping: bool) -> StudyDetail:
    study, front, counts = snapshot.study, snapshot.results.front, snapshot.counts
    context = study.context
    return StudyDetail(
        name=study.name,
        state=state,
        message=message,
        stopping=stopping,
        created=study.created,
        backbone=study.config["backbone"],
        dataset=study.config["dataset"],
        objectives=[axis.name for axis in front.axes],
        budget=snapshot.budget,
        running=counts.get("running", 0) if state == "running" else 0,
        finished=counts.get("finished", 0),
        failed=counts.get("failed", 0),
        stopped=counts.get("stopped", 0),
        front_size=len(front.members),
        hypervolume=front.hypervolume,
        best=_best(snapshot),
        version=snapshot.version,
        config=study.config,
        unshared=context["unshared"],
        plans=context["plans"],
        reference_point=front.reference_point,
    )


def _best(snapshot: Snapshot) -> BestPlan | None:
    front = snapshot.results.front
    if not front.members:
        return None
    trial = knee(front)
    values = {axis.name: trial.value(axis.name) for axis in front.axes}
    return BestPlan(trial=trial.number, values={k: v for k, v in values.items() if v is not None})
