"""The Pareto front as a picture, in numbers; search/results/pictures/drawing.py draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from isoshare.search.jobs import SEARCHED
from isoshare.search.pareto import Axis, with_unit
from isoshare.search.results.describe import plan_in_brief, with_error
from isoshare.search.results.scaling_alone import Sized, scaling_curve
from isoshare.search.results.study_results import Results
from isoshare.space.plan import SharingPlan
from isoshare.storage.records import StudyRecord, TrialRecord
from isoshare.storage.study_values import StudyContext

SCALING = "scaling alone"
"""What unshared networks of several sizes are called."""
FROM_THE_SEARCH = (*SEARCHED, "start: ", "unshared, ", "fully shared, ")
"""Origins, or how they begin, of trials that are not drawn as labelled reference points."""


@dataclass(frozen=True)
class Point:
    """One trial: x is the second objective of the study, y the first, with their standard errors;
    z the third, if there is one. number: of the trial; method: how its plan shares. say: makes the
    text for hovering, which takes longer than all the rest and is seldom wanted.
    """

    x: float
    y: float
    z: float | None
    x_error: float
    error: float
    say: Callable[[], str] = field(repr=False, compare=False)
    label: str = ""
    number: int = -1
    method: str = ""

    @cached_property
    def hover(self) -> str:
        """The trial in a few lines."""
        return self.say()


@dataclass(frozen=True)
class FrontFigure:
    """Everything that is drawn; the staircase is a list of corners.

    color_axis: the third objective, shown by the colour of the members.
    excluded: plans that break a limit on what was measured.
    stopped: plans whose training was ended early, at the values they had then.
    scaling: unshared networks of several sizes, the curve of scaling alone.
    """

    title: str
    x_axis: Axis
    y_axis: Axis
    color_axis: Axis | None
    others: tuple[Point, ...]
    members: tuple[Point, ...]
    excluded: tuple[Point, ...]
    references: tuple[Point, ...]
    staircase: tuple[tuple[float, float], ...]
    stopped: tuple[Point, ...] = ()
    scaling: tuple[Point, ...] = ()

    @property
    def border(self) -> str:
        """What the staircase is: with a third objective, the front of the first two alone."""
        if self.color_axis is None:
            return "Pareto front"
        return f"front of {self.y_axis.name} and {self.x_axis.name} alone"


def front_figure(results: Results, known: Mapping[int, Point] | None = None) -> FrontFigure:
    """The numbers of the picture; known: the points of all trials, if they have been made."""
    study, front = results.study, results.front
    y_axis, x_axis, color_axis = (*front.axes[:3], None)[:3]
    assert y_axis is not None, "a search has two objectives or more"
    assert x_axis is not None, "a search has two objectives or more"
    apart = {trial.number for trial in (*front.members, *front.excluded)}
    made = known if known is not None else points_of(study, front.axes, results.trials)
    points = {trial.number: made[trial.number] for trial in results.finished}
    members = tuple(points[trial.number] for trial in front.members)
    return FrontFigure(
        title=f"{study.name}: {len(results.finished)} plans, {len(members)} on the front",
        x_axis=x_axis,
        y_axis=y_axis,
        color_axis=color_axis,
        others=tuple(point for number, point in points.items() if number not in apart),
        members=members,
        excluded=tuple(points[trial.number] for trial in front.excluded),
        references=tuple(points[t.number] for t in results.finished if points[t.number].label),
        staircase=staircase([(point.x, point.y) for point in members], x_axis, y_axis),
        stopped=tuple(
            made[trial.number]
            for trial in results.trials
            if trial.state == "stopped" and trial.number in made
        ),
        scaling=tuple(points[one.trial] for one in _scaling(results, x_axis)),
    )


def _scaling(results: Results, x_axis: Axis) -> Sequence[Sized]:
    return scaling_curve(results) if x_axis.name == "parameters" else ()


def points_of(
    study: StudyRecord, axes: Sequence[Axis], trials: Sequence[TrialRecord]
) -> dict[int, Point]:
    """The points of the trials that have a value for every objective, finished or stopped."""
    ended = (trial for trial in trials if trial.state in ("finished", "stopped"))
    made = {trial.number: _point(trial, axes, study.context) for trial in ended}
    return {number: point for number, point in made.items() if point is not None}


def method_of(plan: SharingPlan) -> str:
    """How a plan shares: a method, ``several methods``, or ``unshared``."""
    methods = {bank.method for bank in plan.banks}
    return "several methods" if len(methods) > 1 else min(methods, default="unshared")


def staircase(
    points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis
) -> tuple[tuple[float, float], ...]:
    """The border of what ``points`` dominate, as corners from the best x to the worst.

    Between two points the border keeps the y of the one with the better x.
    """
    best_first = sorted(points, key=lambda point: (x_axis.sign * point[0], y_axis.sign * point[1]))
    corners: list[tuple[float, float]] = []
    for x, y in best_first:
        if corners and y_axis.sign * y >= y_axis.sign * corners[-1][1]:
            continue  # equal or, with more than two objectives, dominated in these two
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return tuple(corners)


def axis_title(axis: Axis) -> str:
    """The objective, its unit and which way is better."""
    return f"{with_unit(axis)} ({'more' if axis.direction == 'maximize' else 'less'} is better)"


def _point(trial: TrialRecord, axes: Sequence[Axis], context: StudyContext) -> Point | None:
    values = [value for axis in axes if (value := trial.value(axis.name)) is not None]
    if len(values) < len(axes):
        return None
    y, x, *rest = values
    y_error, x_error = (trial.error_bar(axis.name) or 0.0 for axis in axes[:2])
    say = partial(_hover, trial, axes, context)
    z = rest[0] if rest else None
    label, method = _label(trial.origin), method_of(trial.plan)
    return Point(x, y, z, x_error, y_error, say, label, trial.number, method)


def _hover(trial: TrialRecord, axes: Sequence[Axis], context: StudyContext) -> str:
    lines = [f"<b>trial {trial.number}</b>{', stopped early' * (trial.state == 'stopped')}"]
    lines += [f"{axis.name} {with_error(trial, axis.name)} {axis.unit}".strip() for axis in axes]
    if "parameters" in trial.exact:
        lines.append(f"{trial.exact['parameters'] / context.unshared:.0%} of the unshared network")
    lines += plan_in_brief(trial.plan, context.of(trial.plan).sites).split(", ")
    return "<br>".join(lines)


def _label(origin: str) -> str:
    if origin.startswith(FROM_THE_SEARCH):
        return ""
    return "unshared network" if origin == "unshared" else origin
