"""What the service keeps about the drivers it has started: a note, a log and the options of each.

Notes are written whole. One that cannot be read is set aside under another name and told of, so
that it never keeps the service from starting.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from isoshare.search.options import OPTIONS
from isoshare.search.service.errors import Problem
from isoshare.space.files import atomic_write

TAIL_BYTES = 64 * 1024
"""So much of the end of a log is looked at."""


@dataclass(frozen=True)
class Driver:
    """One driver process of one study.

    born: when the process started, in clock ticks since the machine did: process numbers are used
        again. by, stopped_by: the names of those who started and stopped it. exit_code: None while
        it runs, or if nobody saw it end.
    """

    study: str
    pid: int
    born: int
    started: str
    stopping: bool = False
    exit_code: int | None = None
    by: str = ""
    stopped_by: str = ""


class DriverFiles:
    """The files of one database. set_aside: broken notes that were found, under their new names."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder.absolute() / hashlib.sha256(url.encode()).hexdigest()[:12]
        self.set_aside: list[Path] = []

    def notes(self) -> dict[str, Driver]:
        """The last driver of each study."""
        found = (self._read(file) for file in sorted(self.folder.glob("*.json")))
        return {driver.study: driver for driver in found if driver is not None}

    def write(self, driver: Driver) -> None:
        """Note a driver. Raises OSError."""
        with atomic_write(self.note(driver.study)) as half:
            half.write_text(json.dumps(asdict(driver)))

    def write_options(self, study: str, options: Mapping[str, Any]) -> Path:
        """The options of a search in a file, which is returned. Raises Problem on a full disk."""
        file = self.options(study)
        given = {key: value for key, value in options.items() if value is not None}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(file) as half:
                half.write_text(json.dumps(given))
            self.log(study).touch()
        except OSError as error:
            raise no_room(self.folder, error) from error
        return file

    def read_options(self, study: str) -> dict[str, Any]:
        """What a search was launched with from here; nothing if it was not."""
        with suppress(OSError, ValueError):
            found = json.loads(self.options(study).read_text())
            return found if isinstance(found, dict) else {}
        return {}

    def forget(self, study: str) -> None:
        """Remove all files of a study."""
        for file in (self.note(study), self.log(study), self.options(study)):
            file.unlink(missing_ok=True)

    def rename(self, study: str, new: str) -> None:
        """Keep log and options under another name, and forget the note."""
        for old, now in (
            (self.log(study), self.log(new)),
            (self.options(study), self.options(new)),
        ):
            with suppress(OSError):
                old.replace(now)
        self.note(study).unlink(missing_ok=True)

    def tail(self, study: str, lines: int) -> list[str]:
        """The last lines of the log of the last driver of a study."""
        with suppress(OSError), self.log(study).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]
        return []

    def complaint(self, study: str) -> str:
        """The error with which the driver of a study ended, as it told it; empty if it did not."""
        lines = self.tail(study, 10_000)
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return errors[-1] if errors else ""

    def note(self, study: str) -> Path:
        """The file of the note of a study."""
        return self.folder / f"{_safe(study)}.json"

    def options(self, study: str) -> Path:
        """The file of the options that a study was launched with."""
        return self.folder / "options" / f"{_safe(study)}.json"

    def log(self, study: str) -> Path:
        """The file of what the last driver of a study printed."""
        return self.folder / f"{_safe(study)}.log"

    def _read(self, file: Path) -> Driver | None:
        known = {field.name for field in fields(Driver)}
        try:
            found = json.loads(file.read_text())
            driver = Driver(**{key: value for key, value in found.items() if key in known})
            if not (isinstance(driver.study, str) and isinstance(driver.pid, int)):
                raise TypeError("no study or no process")
        except (OSError, ValueError, TypeError, AttributeError):
            aside = file.with_name(f"{file.name}.broken")
            with suppress(OSError):
                file.replace(aside)
            self.set_aside.append(aside)
            return None
        return driver


def no_room(folder: Path, error: OSError) -> Problem:
    """The answer where the service cannot write what it has to keep."""
    return Problem(
        "no_room",
        f"the service cannot write into {folder}: {error.strerror}; nothing was started: make room "
        "there, or let it keep its files elsewhere with --state",
    )


def option_of(complaint: str) -> str | None:
    """The option that a complaint is about, if it names one: ``--backbone-arg`` or ``epochs``."""
    flags = re.findall(r"--([a-z][a-z0-9-]*)", complaint)
    named = [flag.replace("-", "_") for flag in flags]
    first = re.match(r"(?:wrong option )?([a-z_]+)\b", complaint)
    return next((name for name in [*named, first[1] if first else ""] if name in OPTIONS), None)


def _safe(study: str) -> str:
    """A file name for any study name."""
    return hashlib.sha256(study.encode()).hexdigest()[:24]
