"""All studies of the service: what the database knows of them and what their drivers do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from isoshare.search.service.audit import Audit
from isoshare.search.service.bodies import NoteRequest
from isoshare.search.service.errors import Problem
from isoshare.search.service.models import State, StudyDetail, StudyLog
from isoshare.search.service.runs.driver_files import Driver
from isoshare.search.service.runs.launching import as_asked, check_allowed, check_bounds, checked
from isoshare.search.service.runs.previews import Preview, preview_of
from isoshare.search.service.runs.processes import Drivers, is_alive
from isoshare.search.service.settings import Settings
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.search.service.studies.study_cache import Mirror, look_at_all_again
from isoshare.search.service.studies.study_detail import stored_detail, unstored_detail
from isoshare.search.service.studies.study_state import (
    has_ended,
    other_driver,
    running_elsewhere,
    standing,
    standing_unstored,
)
from isoshare.search.service.studies.trials import find
from isoshare.search.study_names import check_name
from isoshare.storage.change_feed import Overview, StudyVersion, WatchedStore
from isoshare.storage.opening.database import StoreError
from isoshare.storage.records import NoteRecord


class Studies:
    """Reads, launches and stops searches; audit: who did so."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = WatchedStore(settings.storage)
        self._drivers = Drivers(settings.folder, settings.storage, settings.searches)
        self.audit = Audit(self._drivers.files.folder / "audit.jsonl")
        self._mirrors: dict[str, Mirror] = {}
        self._overview, self._looked_at = Overview(), float("-inf")
        self._alive: list[tuple[str, bool]] = []
        self._changes = 0
        self._lock, self._looking = Lock(), Lock()

    def close(self) -> None:
        """Give the database back; searches go on."""
        self._drivers.close()
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
        """All studies, the newest first; also those that are only being prepared or have failed at
        it, by the time at which they were launched.
        """
        stored = self.stored()
        waiting = [one for one in self._drivers.all() if one.study not in stored]
        begun = {one.study: datetime.fromisoformat(one.started) for one in waiting}
        begun |= {name: glance.key[1] for name, glance in stored.items()}
        return sorted(begun, key=lambda name: begun[name], reverse=True)

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

    def drivers(self) -> Mapping[str, Driver]:
        """The last driver of each study that was launched from here."""
        return {driver.study: driver for driver in self._drivers.all()}

    def state(self, name: str) -> State:
        """That of ``detail``, but no trials stay in memory. Raises Problem if there is no study."""
        driver, glance = self._drivers.find(name), self.stored().get(name)
        complaint = self._drivers.files.complaint(name) if has_ended(driver) else ""
        if driver is not None and glance is None:
            return standing_unstored(driver, complaint).state
        if other_driver(driver, glance) is not None or (driver is not None and is_alive(driver)):
            return "running"
        if glance is None or name in self._mirrors:
            snapshot = self.snapshot(name)
        else:
            snapshot = Mirror(self._store, name, stays=False).read(glance)
        return standing(snapshot, driver, complaint).state

    def snapshot(self, name: str) -> Snapshot:
        """A study as it is now. Raises Problem if there is none, StoreError."""
        glance = self.stored().get(name)
        if glance is None and self.lost:
            raise StoreError(self.lost)
        if glance is None:
            raise Problem("not_found", f"there is no study {name!r}: GET /api/v1/studies lists all")
        with self._lock:
            mirror = self._mirrors.setdefault(name, Mirror(self._store, name))
        return mirror.read(glance)

    def detail(self, name: str) -> StudyDetail:
        """A study with its state. Raises Problem if there is none."""
        driver, glance = self._drivers.find(name), self.stored().get(name)
        complaint = self._drivers.files.complaint(name) if has_ended(driver) else ""
        if driver is not None and glance is None:
            return unstored_detail(driver, standing_unstored(driver, complaint))
        snapshot, other = self.snapshot(name), other_driver(driver, glance)
        where = (
            running_elsewhere(other, complaint) if other else standing(snapshot, driver, complaint)
        )
        return stored_detail(snapshot, where, driver, outside=other is not None)

    def log(self, name: str, lines: int) -> StudyLog:
        """The end of what the driver of a study printed. Raises Problem if there is no study."""
        option = self.detail(name).option
        return StudyLog(study=name, lines=self._drivers.files.tail(name, lines), option=option)

    def options(self, name: str) -> dict[str, Any]:
        """The options that a study was launched with. Raises Problem if there is no study."""
        return self._drivers.files.read_options(name) or as_asked(
            self.snapshot(name).study.config.options
        )

    def preview(self, asked: Mapping[str, Any]) -> Preview:
        """What such a search would do; it takes some seconds. Raises Problem."""
        config = checked(self._settings, asked, self.names())
        return preview_of({**asked, "study": config.study})

    def launch(self, asked: Mapping[str, Any], by: str = "") -> StudyDetail:
        """Start a search. Raises Problem, StoreError: nothing is written where a database was."""
        self.check()
        config = checked(self._settings, asked, self.names())
        assert config.study is not None, "checked searches have names"
        self._drivers.launch(config.study, {**asked, "study": config.study}, by)
        self.audit.note(by, "launched", config.study)
        return self.detail(config.study)

    def resume(self, name: str, changes: Mapping[str, Any], by: str = "") -> StudyDetail:
        """Let a search go on, or begin again one that was stopped early. Raises Problem."""
        detail = self.detail(name)
        if detail.outside:
            raise Problem("conflict", f"study {name!r} is running already: {detail.message}")
        check_bounds(self._settings, changes)
        if detail.version:
            self._drivers.resume(name, self._resumed(name, changes), by)
        else:
            options = {**self._drivers.files.read_options(name), **changes, "study": name}
            checked(self._settings, options, ())
            self._drivers.launch(name, options, by)
        self.audit.note(by, "resumed", name)
        return self.detail(name)

    def stop(self, name: str, by: str = "") -> StudyDetail:
        """Interrupt a search as Ctrl-C does. Raises Problem."""
        driver = self._drivers.find(name)
        if driver is None or not is_alive(driver):
            detail = self.detail(name)
            why = detail.message if detail.outside else "there is nothing to stop"
            raise Problem("conflict", f"study {name!r} is {detail.state}: {why}")
        self._drivers.stop(driver, by)
        self.audit.note(by, "stopped", name)
        return self.detail(name)

    def delete(self, name: str, by: str = "") -> None:
        """Remove a study with all it has measured. Raises Problem, BusyStudyError."""
        driver = self._drivers.find(name)
        if driver is not None and is_alive(driver):
            raise Problem("conflict", f"study {name!r} is being searched: stop it first")
        ended = self.detail(name).ended
        if name in self.stored():
            self._store.delete_study(name)
        self._forget(name)
        self._drivers.forget(name)
        self.audit.note(by, "deleted", name, f"{ended} trials")

    def note(self, name: str, trial: int | None, asked: NoteRequest, by: str = "") -> None:
        """Write a note on a study, or on one of its trials. Raises Problem, StoreError."""
        snapshot = self.snapshot(name)
        if trial is not None:
            find(snapshot, trial)
        tags = tuple(dict.fromkeys(asked.tags))
        self._store.write_note(name, NoteRecord(trial, asked.text.strip(), tags, by))
        self._looked_at = float("-inf")

    def rename(self, name: str, new: str, by: str = "") -> StudyDetail:
        """Give a study another name. Raises Problem, BusyStudyError."""
        driver = self._drivers.find(name)
        if driver is not None and is_alive(driver):
            raise Problem("conflict", f"study {name!r} is being searched: stop it first")
        self.snapshot(name)
        check_name(new)
        if new != name and new in self.names():
            raise Problem("conflict", f"study {new!r} exists already: choose another name")
        self._store.rename_study(name, new)
        self._forget(name)
        self._drivers.rename(name, new)
        self.audit.note(by, "renamed", name, f"now {new}")
        return self.detail(new)

    def _resumed(self, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a search that goes on. Raises Problem."""
        snapshot = self.snapshot(name)
        config = snapshot.study.config
        check_allowed(self._settings, config.backbone, config.dataset)
        there, asked = len(snapshot.results.trials), changes.get("trials")
        if asked is not None and asked < there:
            raise Problem(
                "invalid", f"study {name!r} has {there} trials already: trials must be at least so"
            )
        return {**changes, "backbone": config.backbone}

    def _forget(self, name: str) -> None:
        """What was read of a study is not true any more."""
        self._looked_at = float("-inf")
        with self._lock:
            self._mirrors.pop(name, None)
        look_at_all_again()

    def _look(self) -> None:
        drivers = self._drivers.all()  # one that has ended is no more in the way of its lease
        overview = self._store.overview(self._overview)
        alive = [(one.started, is_alive(one)) for one in drivers]
        if (overview, alive) != (self._overview, self._alive):
            self._changes += 1
        self._overview, self._alive = overview, alive
        if not self.lost:  # otherwise it is looked for again each time, until it is back
            for name in set(self._mirrors) - overview.studies.keys():
                self._forget(name)
            self._looked_at = time.monotonic()
