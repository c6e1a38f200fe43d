"""The searches as processes: each is the command line program, which reads its options from a file
and outlives the service.

What is known about a driver lies in a file beside its log, so that a service that is started again
finds its searches. Whether a driver is alive only ``is_alive`` decides.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import isoshare
from isoshare.search.service.errors import Problem
from isoshare.search.service.runs.driver_files import Driver, DriverFiles, no_room
from isoshare.search.study_names import is_plain

PROGRAM = Path(isoshare.__file__).resolve().parent.parent / "run_search.py"


def is_alive(driver: Driver) -> bool:
    """Whether the process of a driver is there and is still the same one."""
    return _born(driver.pid) == driver.born


class Drivers:
    """The drivers of one database.

    folder: where their files are. url: the database, handed over in the environment because
    command lines can be read by everybody. most: so many searches run side by side.
    """

    def __init__(self, folder: Path, url: str, most: int) -> None:
        self.files = DriverFiles(folder, url)
        self._environment = {**os.environ, "ISOSHARE_STORAGE": url}
        self._most = most
        self._notes = self.files.notes()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = Lock()

    def find(self, study: str) -> Driver | None:
        """The last driver of a study that this or an earlier service has started."""
        driver = self._notes.get(study)
        return None if driver is None else self._reaped(driver)

    def all(self) -> list[Driver]:
        """The last driver of each study, the oldest first."""
        known = sorted(self._notes.values(), key=lambda one: one.started)
        return [self._reaped(driver) for driver in known]

    def launch(self, study: str, options: Mapping[str, Any], by: str = "") -> Driver:
        """Start a search; its options go to it in a file. Raises Problem if it cannot run now."""
        with self._lock:
            self._check_room(study)
            file = self.files.write_options(study, options)
            return self._start(study, ["launch", f"--config={file}"], by)

    def resume(self, study: str, changes: Mapping[str, Any], by: str = "") -> Driver:
        """Let a search go on with options that have changed. Raises Problem if it cannot now."""
        words = [f"--{key}={value}" for key, value in changes.items() if value is not None]
        with self._lock:
            self._check_room(study)
            return self._start(study, ["resume", *words, "--", study], by)

    def _check_room(self, study: str) -> None:
        running = [driver.study for driver in self.all() if is_alive(driver)]
        if study in running:
            raise Problem("conflict", f"study {study!r} is being searched already")
        if len(running) >= self._most:
            raise Problem(
                "conflict",
                f"{len(running)} searches are running, and this server runs at most "
                f"{self._most}: wait for one to end, or stop one",
            )

    def _start(self, study: str, arguments: list[str], by: str) -> Driver:
        folder = self.files.folder
        out = folder / "results" / (study if is_plain(study) else self.files.note(study).stem)
        command, *options = arguments
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log = self.files.log(study).open("wb")
        except OSError as error:
            raise no_room(folder, error) from error
        with log:
            child = subprocess.Popen(
                [sys.executable, str(PROGRAM), command, f"--out={out}", *options],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await_end(study)
        self._children[study] = child
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        return self._write(Driver(study, child.pid, _born(child.pid) or 0, now, by=by))

    def stop(self, driver: Driver, by: str = "") -> Driver:
        """Interrupt a search as Ctrl-C does: it ends soon, loses nothing, and can be resumed."""
        noted = self._write(replace(driver, stopping=True, stopped_by=by))
        os.kill(driver.pid, signal.SIGINT)
        return noted

    def rename(self, study: str, new: str) -> None:
        """Keep what is known about a study under its new name."""
        driver = self.find(study)
        if driver is None:
            return
        self.files.rename(study, new)
        self._notes.pop(study)
        self._write(replace(driver, study=new))

    def forget(self, study: str) -> None:
        """Remove what is kept about a study."""
        self._notes.pop(study, None)
        self.files.forget(study)
        self._await_end(study)

    def close(self) -> None:
        """Note how searches have ended that nobody has asked about since; others go on."""
        self.all()

    def _await_end(self, study: str) -> None:
        """Of the last process of a study whose search has ended, if it is a child of this one."""
        child = self._children.pop(study, None)
        if child is not None:
            child.wait()  # its last threads may take a moment longer

    def _reaped(self, driver: Driver) -> Driver:
        """With the exit code, if it is a child of this process that has ended."""
        child = self._children.get(driver.study)
        if child is None or child.pid != driver.pid:
            return driver
        try:
            # What is_alive calls dead may have threads that take a moment longer.
            child.wait(timeout=0 if is_alive(driver) else 1)
        except subprocess.TimeoutExpired:
            return driver
        self._children.pop(driver.study, None)
        return self._write(replace(driver, exit_code=child.returncode))

    def _write(self, driver: Driver) -> Driver:
        """Note a driver. On a full disk this service still knows it; one that is started again
        finds the search by the lease of its study.
        """
        self._notes[driver.study] = driver
        with suppress(OSError):
            self.files.write(driver)
        return driver


def _born(pid: int) -> int | None:
    """When a process started, in clock ticks; None if there is none, or it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] == "Z" else int(fields[19])
