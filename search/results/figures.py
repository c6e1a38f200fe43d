"""The Pareto front as a picture: first the numbers, then two ways to draw them.

The HTML is drawn by plotly and holds all it needs, so it can be mailed and opened offline. The PNG
is drawn by matplotlib, because plotly's own needs a browser to be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.results.pareto import Axis, Results
from search.results.words import plan_in_words, sites_of, with_error
from space.sites import Site
from storage.records import TrialRecord

FROM_THE_SEARCH = ("sampler", "random", "walk", "start: ")
"""Origins, or how they begin, of trials that are not drawn as labelled reference points."""
BLUE, ORANGE, GREY, INK = "#2563eb", "#d97706", "#9ca3af", "#111827"


@dataclass(frozen=True)
class Point:
    """One trial: x is the second objective of the study, y the first, with its standard error."""

    x: float
    y: float
    error: float
    hover: str
    label: str = ""


@dataclass(frozen=True)
class FrontFigure:
    """Everything that is drawn; the staircase is a list of corners."""

    title: str
    x_axis: Axis
    y_axis: Axis
    others: tuple[Point, ...]
    members: tuple[Point, ...]
    references: tuple[Point, ...]
    staircase: tuple[tuple[float, float], ...]


def front_figure(results: Results) -> FrontFigure:
    """The numbers of the picture."""
    study, front = results.study, results.front
    y_axis, x_axis = front.axes[0], front.axes[1]
    sites = sites_of(study)
    on_front = {trial.number for trial in front.members}
    points = {
        trial.number: _point(trial, x_axis, y_axis, sites, study.context["unshared"])
        for trial in results.finished
    }
    members = tuple(points[trial.number] for trial in front.members)
    return FrontFigure(
        title=f"{study.name}: {len(results.finished)} plans, {len(members)} on the front",
        x_axis=x_axis,
        y_axis=y_axis,
        others=tuple(point for number, point in points.items() if number not in on_front),
        members=members,
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


def write_html(figure: FrontFigure, path: Path) -> None:
    """Draw an interactive page: one file that works offline."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    corners = figure.staircase
    drawing.add_scatter(
        x=[x for x, _ in corners],
        y=[y for _, y in corners],
        mode="lines",
        line={"color": BLUE, "width": 1.5},
        name="Pareto front",
        hoverinfo="skip",
    )
    _add_points(drawing, figure.others, "dominated plans", GREY, 7)
    _add_points(drawing, figure.members, "plans on the front", BLUE, 10)
    _add_references(drawing, figure.references)
    drawing.update_layout(
        title=figure.title,
        xaxis_title=axis_title(figure.x_axis),
        yaxis_title=axis_title(figure.y_axis),
        template="plotly_white",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "y": -0.15},
    )
    drawing.write_html(path, include_plotlyjs=True, full_html=True)


def write_png(figure: FrontFigure, path: Path) -> None:
    """Draw the same picture for documents."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = drawing.add_subplot()
    axes.plot(*zip(*figure.staircase, strict=True), color=BLUE, linewidth=1.2, zorder=1)
    for points, color, size, name in (
        (figure.others, GREY, 4, "dominated plans"),
        (figure.members, BLUE, 6, "plans on the front"),
    ):
        axes.errorbar(
            [point.x for point in points],
            [point.y for point in points],
            yerr=[point.error for point in points],
            fmt="o",
            markersize=size,
            color=color,
            elinewidth=0.8,
            label=name,
        )
    for place, point in enumerate(figure.references):
        axes.plot(point.x, point.y, "D", color=ORANGE, markersize=7)
        side = -1 if place == 0 else 1
        axes.annotate(
            point.label,
            (point.x, point.y),
            textcoords="offset points",
            xytext=(8 * side, -14),
            ha="right" if side < 0 else "left",
            color=ORANGE,
        )
    axes.set(title=figure.title, xlabel=axis_title(figure.x_axis), ylabel=axis_title(figure.y_axis))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, format="png")


def axis_title(axis: Axis) -> str:
    """The objective and which way is better."""
    return f"{axis.name} ({'more' if axis.direction == 'maximize' else 'less'} is better)"


def _point(
    trial: TrialRecord, x_axis: Axis, y_axis: Axis, sites: Sequence[Site], unshared: int
) -> Point:
    x, y = trial.value(x_axis.name), trial.value(y_axis.name)
    assert x is not None and y is not None  # noqa: PT018  finished trials have all values
    lines = [f"<b>trial {trial.number}</b>"]
    lines += [f"{axis.name} {with_error(trial, axis.name)}" for axis in (y_axis, x_axis)]
    if "parameters" in trial.exact:
        lines.append(f"{trial.exact['parameters'] / unshared:.0%} of the unshared network")
    lines += plan_in_words(trial.plan, sites).split(", ")
    error = trial.error_bar(y_axis.name) or 0.0
    return Point(x, y, error, "<br>".join(lines), _label(trial.origin))


def _label(origin: str) -> str:
    if origin.startswith(FROM_THE_SEARCH):
        return ""
    return "unshared network" if origin == "unshared" else origin


def _add_points(drawing: object, points: Sequence[Point], name: str, color: str, size: int) -> None:
    drawing.add_scatter(  # type: ignore[attr-defined]
        x=[point.x for point in points],
        y=[point.y for point in points],
        error_y={
            "array": [point.error for point in points],
            "color": color,
            "thickness": 1,
            "width": 3,
        },
        mode="markers",
        marker={"color": color, "size": size},
        hovertext=[point.hover for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        name=name,
    )


def _add_references(drawing: object, points: Sequence[Point]) -> None:
    leftmost = min((point.x for point in points), default=0.0)
    drawing.add_scatter(  # type: ignore[attr-defined]
        x=[point.x for point in points],
        y=[point.y for point in points],
        mode="markers+text",
        marker={"color": ORANGE, "size": 12, "symbol": "diamond"},
        text=[point.label for point in points],
        textposition=["bottom right" if point.x == leftmost else "bottom left" for point in points],
        textfont={"color": ORANGE},
        hovertext=[point.hover for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        name="references",
    )
