"""The searches as processes: each is the command line program, which reads its options from a file
and outlives the service.

What is known about a driver lies in a file beside its log, so that a service that is started again
finds its searches. Whether a driver is alive only ``is_alive`` decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import isoshare
from isoshare.search.service.errors import Problem
from isoshare.search.study_names import is_plain
from isoshare.space.files import atomic_write

PROGRAM = Path(isoshare.__file__).resolve().parent.parent / "run_search.py"


@dataclass(frozen=True)
class Driver:
    """One driver process of one study.

    born: when the process started, in clock ticks since the machine did: process numbers are used
        again. exit_code: None while it runs, or if nobody saw it end.
    """

    study: str
    pid: int
    born: int
    started: str
    stopping: bool = False
    exit_code: int | None = None


def is_alive(driver: Driver) -> bool:
    """Whether the process of a driver is there and is still the same one."""
    return _born(driver.pid) == driver.born


class Drivers:
    """The drivers of one database.

    folder: where their files are, one for each study and its log. url: the database, handed over
        in the environment because command lines can be read by everybody.
    most: so many searches run side by side.
    """

    def __init__(self, folder: Path, url: str, most: int) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()[:12]
        self._folder = folder.absolute() / name
        self._environment = {**os.environ, "ISOSHARE_STORAGE": url}
        self._most = most
        notes = (Driver(**json.loads(file.read_text())) for file in self._folder.glob("*.json"))
        self._notes = {driver.study: driver for driver in notes}
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

    def launch(self, study: str, options: Mapping[str, Any]) -> Driver:
        """Start a search; its options go to it in a file. Raises Problem if it cannot run now."""
        file = self._options(study)
        with self._lock:
            self._check_room(study)
            with atomic_write(file) as half:
                half.write_text(json.dumps({k: v for k, v in options.items() if v is not None}))
            return self._start(study, ["launch", f"--config={file}"])

    def resume(self, study: str, changes: Mapping[str, Any]) -> Driver:
        """Let a search go on with options that have changed. Raises Problem if it cannot now."""
        words = [f"--{key}={value}" for key, value in changes.items() if value is not None]
        with self._lock:
            self._check_room(study)
            return self._start(study, ["resume", *words, "--", study])

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
        self._options(study).parent.mkdir(parents=True, exist_ok=True)

    def _start(self, study: str, arguments: list[str]) -> Driver:
        out = self._folder / "results" / (study if is_plain(study) else _safe(study))
        command, *options = arguments
        with self._log(study).open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, str(PROGRAM), command, f"--out={out}", *options],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[study] = child
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return self._write(Driver(study, child.pid, _born(child.pid) or 0, now))

    def stop(self, driver: Driver) -> Driver:
        """Interrupt a search as Ctrl-C does: it ends soon, loses nothing, and can be resumed."""
        os.kill(driver.pid, signal.SIGINT)
        return self._write(replace(driver, stopping=True))

    def forget(self, study: str) -> None:
        """Remove what is kept about a study."""
        self._notes.pop(study, None)
        self._file(study).unlink(missing_ok=True)
        self._log(study).unlink(missing_ok=True)
        self._options(study).unlink(missing_ok=True)
        child = self._children.pop(study, None)
        if child is not None:
            child.wait()  # its last threads may take a moment longer

    def complaint(self, study: str) -> str:
        """The error with which the driver of a study ended, as it told it; empty if it did not."""
        try:
            lines = self._log(study).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return errors[-1] if errors else ""

    def _reaped(self, driver: Driver) -> Driver:
        """With the exit code, if it is a child of this process that has ended."""
        child = self._children.get(driver.study)
        if child is None or child.pid != driver.pid or child.poll() is None:
            return driver
        self._children.pop(driver.study, None)
        return self._write(replace(driver, exit_code=child.returncode))

    def _write(self, driver: Driver) -> Driver:
        self._notes[driver.study] = driver
        with atomic_write(self._file(driver.study)) as half:
            half.write_text(json.dumps(asdict(driver)))
        return driver

    def _file(self, study: str) -> Path:
        return self._folder / f"{_safe(study)}.json"

    def _options(self, study: str) -> Path:
        return self._folder / "options" / f"{_safe(study)}.json"

    def _log(self, study: str) -> Path:
        return self._folder / f"{_safe(study)}.log"


def _safe(study: str) -> str:
    """A file name for any study name."""
    return hashlib.sha256(study.encode()).hexdigest()[:24]


def _born(pid: int) -> int | None:
    """When a process started, in clock ticks; None if there is none, or it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] == "Z" else int(fields[19])
