"""The Pareto front as a picture, in numbers; search/results/drawing.py draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.results.pareto import Axis, Results, values_of, with_unit
from search.results.words import plan_in_words, sites_of, with_error
from space.sites import Site
from storage.records import TrialRecord

FROM_THE_SEARCH = ("sampler", "random", "walk", "start: ")
"""Origins, or how they begin, of trials that are not drawn as labelled reference points."""


@dataclass(frozen=True)
class Point:
    """One trial: x is the second objective of the study, y the first, with their standard errors;
    z the third, if there is one.
    """

    x: float
    y: float
    z: float | None
    x_error: float
    error: float
    hover: str
    label: str = ""


@dataclass(frozen=True)
class FrontFigure:
    """Everything that is drawn; the staircase is a list of corners.

    color_axis: the third objective, shown by the colour of the members.
    excluded: plans that break a limit on what was measured.
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


def front_figure(results: Results) -> FrontFigure:
    """The numbers of the picture."""
    study, front = results.study, results.front
    y_axis, x_axis, color_axis = (*front.axes[:3], None)[:3]
    assert y_axis is not None, "a search has two objectives or more"
    assert x_axis is not None, "a search has two objectives or more"
    sites = sites_of(study)
    apart = {trial.number for trial in (*front.members, *front.excluded)}
    points = {
        trial.number: _point(trial, front.axes, sites, study.context["unshared"])
        for trial in results.finished
    }
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
    )


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


def _point(trial: TrialRecord, axes: Sequence[Axis], sites: Sequence[Site], unshared: int) -> Point:
    values = values_of(axes, trial)
    assert values is not None, "finished trials have all values"
    y, x, *rest = values
    lines = [f"<b>trial {trial.number}</b>"]
    lines += [f"{axis.name} {with_error(trial, axis.name)} {axis.unit}".strip() for axis in axes]
    if "parameters" in trial.exact:
        lines.append(f"{trial.exact['parameters'] / unshared:.0%} of the unshared network")
    lines += plan_in_words(trial.plan, sites).split(", ")
    y_error, x_error = (trial.error_bar(axis.name) or 0.0 for axis in axes[:2])
    z = rest[0] if rest else None
    return Point(x, y, z, x_error, y_error, "<br>".join(lines), _label(trial.origin))


def _label(origin: str) -> str:
    if origin.startswith(FROM_THE_SEARCH):
        return ""
    return "unshared network" if origin == "unshared" else origin
