"""Who launched, stopped, changed and deleted what: a list that outlives the studies."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ValidationError

MOST_BYTES = 8 * 2**20
"""A list that is longer becomes the older half, which is kept once."""


class Deed(BaseModel):
    """One line. who: the name of a token; empty for whoever is at this machine."""

    at: datetime
    who: str
    did: str
    study: str
    more: str = ""


class Audit:
    """One file of JSON lines. What cannot be written, on a full disk, keeps nobody from stopping a
    search: it is left out.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._older = file.with_name(f"{file.name}.1")
        self._lock = Lock()

    def note(self, who: str, did: str, study: str, more: str = "") -> None:
        """Add a line."""
        deed = Deed(at=datetime.now(UTC), who=who, did=did, study=study, more=more)
        with self._lock, suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.exists() and self._file.stat().st_size > MOST_BYTES:
                self._file.replace(self._older)
            with self._file.open("a") as file:
                file.write(f"{deed.model_dump_json()}\n")

    def deeds(self) -> list[Deed]:
        """All of them, the newest first."""
        found = [*self._lines(self._older), *self._lines(self._file)]
        return found[::-1]

    def _lines(self, file: Path) -> list[Deed]:
        with suppress(OSError):
            return [deed for line in file.read_text().splitlines() if (deed := _read(line))]
        return []


def _read(line: str) -> Deed | None:
    """A line; None for one that was cut off."""
    try:
        return Deed.model_validate(json.loads(line))
    except (ValueError, ValidationError):
        return None
