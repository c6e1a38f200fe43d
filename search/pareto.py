"""The Pareto front of a study in numbers: who is on it, its hypervolume, its knee.

All comparisons are made on minimised arrays: a maximised objective changes its sign once, here.
Equal points all stay on the front.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, variance
from typing import Literal, TypeVar

import moocore
import numpy as np
from numpy.typing import NDArray

from isoshare.search.constraints import Constraint
from isoshare.space.errors import IsoshareError
from isoshare.storage.records import HasObjectives, StudyRecord, TrialRecord

Points = NDArray[np.float64]
T = TypeVar("T", bound=HasObjectives)


@dataclass(frozen=True)
class Axis:
    """One objective of a study: name, direction, the reference value of the hypervolume, and the
    unit, where the name does not say it.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    reference: float
    unit: str = ""

    @property
    def sign(self) -> float:
        """What turns the objective into one to minimise."""
        return -1.0 if self.direction == "maximize" else 1.0


@dataclass(frozen=True)
class Front:
    """The trials that none dominates, by the last axis (parameters) upwards.

    hypervolume: what they dominate up to the reference point, in the units of the objectives
        multiplied.
    excluded: trials that break a limit on what was measured; they dominate nobody.
    """

    axes: tuple[Axis, ...]
    members: tuple[TrialRecord, ...]
    hypervolume: float
    excluded: tuple[HasObjectives, ...] = ()

    @property
    def reference_point(self) -> dict[str, float]:
        """The corner that the hypervolume is measured from."""
        return {axis.name: axis.reference for axis in self.axes}

    def dominates(self, trial: HasObjectives) -> bool:
        """Whether a member is better than a trial that has all values, which so is on no front."""
        point = minimised(self.axes, [trial])
        beaten = (self._points <= point).all(axis=1) & (self._points < point).any(axis=1)
        return bool(beaten.any())

    @cached_property
    def _points(self) -> Points:
        return minimised(self.axes, self.members)


def axes_of(study: StudyRecord) -> tuple[Axis, ...]:
    """The objectives of a study, in the order in which they were asked for."""
    rows = study.context.objectives.items()
    # A reference that is not known yet is as if nothing were worth having: the volume is 0.
    return tuple(Axis(name, row.direction, row.reference or 0.0, row.unit) for name, row in rows)


def values_of(axes: Sequence[Axis], trial: HasObjectives) -> list[float] | None:
    """The objectives of a finished trial in the order of ``axes``; None if one is missing."""
    values = [trial.value(axis.name) for axis in axes]
    known = [value for value in values if value is not None]
    return known if trial.state == "finished" and len(known) == len(values) else None


def value_at(trial: TrialRecord, objective: str, epochs: int) -> float | None:
    """An exact value, or the mean over the seeds after so many epochs of training."""
    if objective in trial.exact:
        return trial.exact[objective]
    return values_by_epoch(trial, objective).get(epochs)


def values_by_epoch(trial: TrialRecord, objective: str) -> dict[int, float]:
    """What was measured on the validation images after each number of epochs, a mean over seeds."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for one in trial.measurements:
        if one.split == "validation" and objective in one.values:
            found[one.fidelity.get("epochs", 0)].append(one.values[objective])
    return {epochs: fmean(values) for epochs, values in found.items()}


def with_all_values(axes: Sequence[Axis], trials: Sequence[T]) -> list[T]:
    """The finished trials that have a value for every objective."""
    return [trial for trial in trials if values_of(axes, trial) is not None]


def pareto_front(
    axes: Sequence[Axis], finished: Sequence[TrialRecord], limits: Sequence[Constraint] = ()
) -> Front:
    """The front of trials that have all values; limits: those on measured objectives."""
    best, excluded, volume = compare(axes, finished, limits)
    return Front(tuple(axes), tuple(best), volume, tuple(excluded))


def compare(
    axes: Sequence[Axis], finished: Sequence[T], limits: Sequence[Constraint]
) -> tuple[list[T], list[T], float]:
    """Who is on the front, in its order; who breaks a limit; the hypervolume."""
    kept: list[T] = []
    excluded: list[T] = []
    for trial in finished:
        (kept if all(limit.keeps(trial) for limit in limits) else excluded).append(trial)
    points = minimised(axes, kept)
    best = [kept[place] for place in nondominated(points)]
    best.sort(key=lambda trial: (axes[-1].sign * _value(trial, axes[-1]), trial.number))
    return best, excluded, hypervolume(points, [axis.sign * axis.reference for axis in axes])


def plain(axis: Axis, value: float) -> float:
    """A value to be minimised."""
    return axis.sign * value


def comparable(axis: Axis, value: float) -> float:
    """A value to be minimised, costs by their logarithm: half of a cost counts the same wherever
    it is.
    """
    return math.log(value) if axis.direction == "minimize" and value > 0 else axis.sign * value


def minimised(
    axes: Sequence[Axis],
    trials: Sequence[HasObjectives],
    scale: Callable[[Axis, float], float] = plain,
) -> Points:
    """One row a trial, one column an objective, all to be minimised."""
    rows = [[scale(axis, _value(trial, axis)) for axis in axes] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(trials), len(axes))


def nondominated(points: Points) -> list[int]:
    """The rows of a minimised array that no other row dominates; equal rows all stay."""
    if not len(points):
        return []
    return [int(row) for row in np.flatnonzero(moocore.is_nondominated(points, keep_weakly=True))]


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """The volume that a minimised array dominates within ``reference``."""
    return float(moocore.hypervolume(points, ref=list(reference))) if len(points) else 0.0


def ranked(points: Points, reference: Sequence[float]) -> list[int]:
    """The rows of a minimised array from the best to the worst: by non-dominated rank (Deb et al.
    2002), within a rank by the hypervolume within ``reference`` that only they add.
    """
    ranks = moocore.pareto_rank(points)
    order: list[int] = []
    for rank in np.unique(ranks):
        rows = np.flatnonzero(ranks == rank)
        added = moocore.hv_contributions(points[rows], ref=list(reference))
        order += [int(row) for row in rows[np.argsort(-added, kind="stable")]]
    return order


def knee(front: Front) -> TrialRecord:
    """The member farthest from the line between the two ends of the front.

    Every objective is scaled to [0, 1] over the front, so that units do not matter (Das 1999,
    Structural Optimization 18). Raises IsoshareError if the front is empty.
    """
    if front.excluded and not front.members:
        raise IsoshareError(
            f"none of the {len(front.excluded)} finished trials keeps the limits of this search, "
            "so there is no front: let it go on, or take one by --trial"
        )
    if not front.members:
        raise IsoshareError(
            "no trial has finished yet, so there is no front: let the search go on first"
        )
    points = minimised(front.axes, front.members)
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1)
    # The ends of a front lie on the plane "sum = 1"; below it is better than a linear trade.
    return front.members[int(scaled.sum(axis=1).argmin())]


def with_unit(axis: Axis) -> str:
    """``latency in ms``; a name that says its unit stays as it is."""
    return f"{axis.name} in {axis.unit}" if axis.unit else axis.name


def _value(trial: HasObjectives, axis: Axis) -> float:
    value = trial.value(axis.name)
    assert value is not None, "only trials with all values are compared"
    return value


def pooled_variance(samples: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The variance between seeds of one plan, over all plans that have several, and from how many
    differences it is known; samples: of each plan.
    """
    total, known = 0.0, 0
    for some in samples:
        if len(some) > 1:
            total += variance(some) * (len(some) - 1)
            known += len(some) - 1
    return total / max(known, 1), float(known)
