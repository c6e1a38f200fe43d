"""Studies as the service shows them: kept in memory, brought up to date by what has changed.

A study of ten thousand trials takes seconds to read and milliseconds to bring up to date, so each
is read once. Readers get a frozen ``Snapshot``; its version counts up with every change.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import TypeVar

from isoshare.search.constraints import measured_limits
from isoshare.search.pareto import Axis, Front, axes_of, values_of
from isoshare.search.results.hypervolume_history import FrontHistory, history_of
from isoshare.search.results.pictures.figures import Point, points_of
from isoshare.search.results.study_results import Results
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.storage.change_feed import Cursor, Delta, StudyVersion, WatchedStore
from isoshare.storage.records import StudyRecord, TrialRecord

T = TypeVar("T")


MANY_TRIALS = 1_000
"""Whose objects are kept out of the search for garbage, which would stop all answers for long."""


@contextmanager
def _many_objects() -> Iterator[None]:
    """While many objects are made that will stay: looking for garbage among them, again and again,
    would take a third of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _set_apart() -> None:
    """Nothing that is there now is looked at again, until ``look_at_all_again``. What is garbage
    goes first, because it would stay.
    """
    gc.collect()
    gc.freeze()


def look_at_all_again() -> None:
    """After studies were forgotten: what was theirs may be garbage now."""
    gc.unfreeze()


class Mirror:
    """One study in memory. Safe to read from several threads. stays: for more than one look."""

    _seen: Cursor
    _snapshot: Snapshot | None
    _trials: dict[int, TrialRecord]
    _finished: dict[int, TrialRecord]
    _points: dict[int, Point]

    def __init__(self, store: WatchedStore, name: str, stays: bool = True) -> None:
        self._store, self._name, self._stays = store, name, stays
        self._glance: StudyVersion | None = None
        self._lock = Lock()
        self._forget()
        self._version = 0

    def read(self, glance: StudyVersion) -> Snapshot:
        """The study at least as it was at a glance. Raises StoreError."""
        with self._lock:
            if self._snapshot is None:
                with _many_objects():
                    self._update()
                if self._stays and len(self._trials) >= MANY_TRIALS:
                    _set_apart()
            elif self._may_differ(glance):
                self._update()
            self._glance = glance
            assert self._snapshot is not None, "the first read is always news"
            return self._snapshot

    def _update(self) -> None:
        changes = self._store.changes(self._name, self._seen)
        if self._is_news(changes):
            self._snapshot = self._take(changes)
        self._seen = changes.seen

    def _may_differ(self, glance: StudyVersion) -> bool:
        """Nobody but a driver writes; what it wrote last may have come after a glance."""
        return glance is not self._glance and (glance != self._glance or glance.driver is not None)

    def _forget(self) -> None:
        self._seen = Cursor()
        self._snapshot = None
        self._trials, self._finished, self._points = {}, {}, {}

    def _is_news(self, changes: Delta) -> bool:
        if self._snapshot is None or changes.is_new or changes.study != self._snapshot.study:
            return True
        if changes.notes != tuple(self._snapshot.notes.values()):
            return True
        return any(trial != self._trials.get(trial.number) for trial in changes.trials)

    def _take(self, changes: Delta) -> Snapshot:
        if changes.is_new:
            self._forget()
        study, axes = changes.study, axes_of(changes.study)
        history = self._history(changes, axes)
        self._trials.update({trial.number: trial for trial in changes.trials})
        self._points.update(points_of(study, axes, changes.trials))
        # Members may have been measured on test images since they came to the front.
        members = tuple(self._trials[trial.number] for trial in history.front.members)
        front = replace(history.front, members=members)
        self._version += 1
        return Snapshot(
            version=self._version,
            results=self._results(study, front),
            points=dict(self._points),
            history=history,
            counts=dict(Counter(trial.state for trial in self._trials.values())),
            notes={note.trial: note for note in changes.notes},
        )

    def _results(self, study: StudyRecord, front: Front) -> Results:
        """As read from the database, but that nothing is read."""
        known, finished = dict(self._trials), tuple(self._finished.values())

        def load(numbers: Sequence[int] | None) -> list[TrialRecord]:
            return [known[number] for number in (known if numbers is None else numbers)]

        return Results(study, tuple(known.values()), finished, front, load)

    def _history(self, changes: Delta, axes: tuple[Axis, ...]) -> FrontHistory:
        """The history with what has ended now; from its beginning where old values changed."""
        limits = measured_limits(changes.study.config.options)
        ended, rewritten = [], self._snapshot is None
        for trial in changes.trials:
            values = values_of(axes, trial)
            if values is None:
                continue
            known = self._finished.get(trial.number)
            if known is None:
                ended.append(trial)
            elif values_of(axes, known) != values:
                rewritten = True
            self._finished[trial.number] = trial
        if rewritten or self._snapshot is None:
            return history_of(changes.study, axes, tuple(self._finished.values()), limits)
        return self._snapshot.history.after(changes.study, ended, limits)
