"""Trials of a study as rows: chosen, sorted, paged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from isoshare.evaluators.objectives import DEVICE_OBJECTIVES
from isoshare.search.results.choose import Best, choose, plan_file, trial_by_number
from isoshare.search.results.pictures.figures import method_of
from isoshare.search.service.errors import Problem
from isoshare.search.service.models import Measurement, TrialDetail, TrialView
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.search.trials.replication import times_measured
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import PlanFile
from isoshare.storage.records import NoteRecord, TrialRecord, TrialState


@dataclass(frozen=True)
class Wanted:
    """Which trials, in which order.

    sort: number, state, method, origin, seconds, or the name of an objective; with a minus the
        other way round.
    """

    state: TrialState | None = None
    method: str | None = None
    on_front: bool = False
    sort: str = "number"


def chosen(snapshot: Snapshot, wanted: Wanted) -> list[TrialRecord]:
    """The trials that are wanted, sorted. Raises Problem for an unknown order."""
    return snapshot.remembered(wanted, lambda: _chosen(snapshot, wanted))


def _chosen(snapshot: Snapshot, wanted: Wanted) -> list[TrialRecord]:
    front, results = on_front(snapshot), snapshot.results
    trials = [
        trial
        for trial in (results.front.members if wanted.on_front else results.trials)
        if (wanted.state is None or trial.state == wanted.state)
        and (wanted.method is None or method_of(trial.plan) == wanted.method)
    ]
    key = _key(snapshot, wanted.sort.removeprefix("-"), front)
    keyed = [(key(trial), trial) for trial in trials]
    known = [pair for pair in keyed if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=wanted.sort.startswith("-"))
    return [trial for _, trial in known] + [trial for value, trial in keyed if value is None]


def on_front(snapshot: Snapshot) -> set[int]:
    """The numbers of the trials on the front."""
    return {trial.number for trial in snapshot.results.front.members}


def find(snapshot: Snapshot, number: int) -> TrialRecord:
    """A trial. Raises Problem."""
    for trial in snapshot.results.trials:
        if trial.number == number:
            return trial
    raise Problem(
        "not_found",
        f"study {snapshot.study.name!r} has no trial {number}: it has "
        f"{len(snapshot.results.trials)}, counted from 0",
    )


def row(snapshot: Snapshot, trial: TrialRecord, front: set[int]) -> TrialView:
    """A trial in one row."""
    return TrialView(**_row(snapshot, trial, front))


def detail(snapshot: Snapshot, trial: TrialRecord) -> TrialDetail:
    """A trial with everything."""
    order = [site.name for site in snapshot.network(trial.plan).sites]
    return TrialDetail(
        **_row(snapshot, trial, on_front(snapshot)),
        banks=trial.plan.documents(order),
        device_bytes={
            target: trial.exact[name]
            for target, name in DEVICE_OBJECTIVES.items()
            if name in trial.exact
        },
        measurements=[
            Measurement(
                seed=m.seed,
                split=m.split,
                fidelity=m.fidelity,
                values=m.values,
                seconds=m.seconds,
                stored=m.stored,
            )
            for m in trial.measurements
        ],
    )


def plan_of(snapshot: Snapshot, number: int) -> PlanFile:
    """The plan file of a finished trial. Raises Problem."""
    find(snapshot, number)
    try:
        return plan_file(snapshot.study, trial_by_number(snapshot.results, number))
    except IsoshareError as error:
        raise Problem("not_found", str(error)) from error


def best_trial(
    snapshot: Snapshot,
    best: Best | None,
    max_parameters: int | None,
    min_accuracy: float | None,
) -> TrialRecord:
    """The trial on the front that is meant, as ``export`` chooses it. Raises Problem."""
    try:
        return choose(snapshot.results.front, best, max_parameters, min_accuracy)
    except IsoshareError as error:
        raise Problem("not_found", str(error)) from error


def _row(snapshot: Snapshot, trial: TrialRecord, front: set[int]) -> dict[str, Any]:
    note = snapshot.notes.get(trial.number, NoteRecord(trial.number))
    names = dict.fromkeys([*(axis.name for axis in snapshot.results.front.axes), "parameters"])
    return {
        "number": trial.number,
        "fingerprint": trial.plan.fingerprint,
        "state": trial.state,
        "origin": trial.origin,
        "method": method_of(trial.plan),
        "on_front": trial.number in front,
        "values": _known(names, trial.value),
        "standard_error": _known(names, trial.error_bar),
        "test": _known(names, lambda name: _tested(trial, name)),
        "repeats": _repeats(snapshot, trial),
        "seconds": trial.seconds,
        "error": trial.error,
        "note": note.text,
        "tags": list(note.tags),
    }


def _repeats(snapshot: Snapshot, trial: TrialRecord) -> int:
    if trial.state != "finished":
        return 0
    return times_measured(trial, snapshot.study.config.replicates) - 1


def _tested(trial: TrialRecord, name: str) -> float | None:
    return trial.value(name, "test") if trial.samples(name, "test") else None


def _known(names: Sequence[str] | dict[str, None], value: Callable[[str], float | None]) -> Any:
    found = {name: value(name) for name in names}
    return {name: number for name, number in found.items() if number is not None}


def _key(snapshot: Snapshot, name: str, front: set[int]) -> Callable[[TrialRecord], Any]:
    """What trials are sorted by. Raises Problem."""
    keys: dict[str, Callable[[TrialRecord], Any]] = {
        "number": lambda trial: trial.number,
        "state": lambda trial: (trial.state, trial.number not in front, trial.number),
        "method": lambda trial: (method_of(trial.plan), trial.number),
        "origin": lambda trial: (trial.origin, trial.number),
        "seconds": lambda trial: trial.seconds,
    }
    objectives = (axis.name for axis in snapshot.results.front.axes)
    keys |= {objective: partial(_value, objective) for objective in objectives}
    if name not in keys:
        raise Problem("invalid", f"unknown order {name!r}: choose one of {', '.join(keys)}")
    return keys[name]


def _value(objective: str, trial: TrialRecord) -> float | None:
    return trial.value(objective)
