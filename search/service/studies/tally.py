"""How many searches, and trials of all studies, are in which state."""

from __future__ import annotations

import time
from collections import Counter
from typing import get_args

from isoshare.search.service.errors import Problem
from isoshare.search.service.models import State
from isoshare.search.service.runs.driver_files import Driver
from isoshare.search.service.runs.processes import is_alive
from isoshare.search.service.studies.known_studies import Studies
from isoshare.storage.change_feed import RARE, StudyVersion
from isoshare.storage.opening.database import UnknownStudyError

SECONDS = 2.0
"""So long studies are read for one answer: who asks for metrics gives up after ten seconds."""

Seen = tuple[StudyVersion | None, Driver | None, bool]
"""All that the state of a study depends on, beside its trials, which change with the first."""


class Tally:
    """Whether a search that has ended is finished, was interrupted or failed only its trials tell,
    so each is read once, and what it was is remembered until something of it changes.

    seconds: for which studies are read for one answer; those that are left count as "unread".
    """

    def __init__(self, studies: Studies, seconds: float = SECONDS) -> None:
        self._studies, self._seconds = studies, seconds
        self._known: dict[str, tuple[Seen, State]] = {}

    def searches(self) -> dict[str, int]:
        """How many are in each state; all states are named. Raises StoreError."""
        stored, drivers = self._studies.stored(), self._studies.drivers()
        until = time.monotonic() + self._seconds
        known, counts = dict[str, tuple[Seen, State]](), Counter[str]()
        for name in [*stored, *(name for name in drivers if name not in stored)]:
            driver = drivers.get(name)
            seen = (stored.get(name), driver, driver is not None and is_alive(driver))
            state = self._state(name, seen, until)
            counts[state or "unread"] += 1
            if state is not None:
                known[name] = (seen, state)
        self._known = known
        return {state: counts[state] for state in (*get_args(State), "unread")}

    def trials(self) -> dict[str, int]:
        """How many of all studies are in each state, without reading any. Raises StoreError."""
        counted = zip(*(glance.trials for glance in self._studies.stored().values()), strict=True)
        total, *rare = [sum(column) for column in counted] or [0] * (1 + len(RARE))
        return {"finished": total - sum(rare), **dict(zip(RARE, rare, strict=True))}

    def _state(self, name: str, seen: Seen, until: float) -> State | None:
        before = self._known.get(name)
        if before is not None and before[0] == seen:
            return before[1]
        if time.monotonic() > until:
            return None
        try:
            return self._studies.state(name)
        except (Problem, UnknownStudyError):  # deleted or renamed since the last look
            return None
