"""Pictures as plain values for plotly.js, which a page draws and keeps up to date.

Colours are roles ("ink", "kernel"), which the page replaces by those of its light or dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isoshare.search.pareto import Axis
from isoshare.search.results.hypervolume_history import FrontAt, FrontHistory
from isoshare.search.results.pictures.answers import FAINT, unit_of
from isoshare.search.results.pictures.figures import SCALING, FrontFigure, Point, axis_title
from isoshare.space.methods import METHODS

KINDS = ("unshared", *METHODS, "several methods")
"""What a plan is coloured by; one trace and one entry of the legend each."""
MANY = 2000
"""With more dominated plans than this only their numbers are said on hover, not their banks."""

OF_STUDIES = (
    "bank-0",
    "bank-2",
    "anchored",
    "slice_generator",
    "low_rank",
    "filter_basis",
    "muted",
)
"""Colours of several studies in one plot."""

Trace = dict[str, Any]


def front_plot(figure: FrontFigure, knee: int | None = None) -> dict[str, Any]:
    """Traces and axes of the front: accuracy against parameters, for example. knee: its number."""
    traces = [_stairs(figure), _scaling(figure), *_dominated(figure), *_excluded(figure)]
    size = 11 if figure.color_axis is None else 16
    traces += [_points(kind, points, size) for kind, points in _by_kind(figure.members)]
    traces += [_third(figure.members, figure.color_axis)] if figure.color_axis else []
    traces += [_stopped(figure.stopped), _references(figure.references)]
    traces += [_knee([point for point in figure.members if point.number == knee])]
    return {
        "title": figure.title,
        "x": _axis(figure.x_axis),
        "y": _axis(figure.y_axis),
        "traces": [trace for trace in traces if trace["x"]],
        "front": [point.number for point in figure.members],
    }


def history_plot(history: FrontHistory) -> dict[str, Any]:
    """The hypervolume over the time since the study was made, in steps; on the right what may still
    be gained, where the sampler could tell.
    """
    size, name = unit_of(max((moment.seconds for moment in history.moments), default=0.0))
    times = [moment.seconds / size for moment in history.moments]
    told = [moment for moment in history.moments if moment.remaining is not None]
    return {
        "x": {"title": f"{name} since the start", "zero": True},
        "y": {"title": "hypervolume", "zero": True},
        **({"y2": {"title": "at most still to gain"}} if told else {}),
        "traces": [
            *([_remaining(told, size)] if told else []),
            {
                "type": "scatter",
                "mode": "lines",
                "name": "hypervolume",
                "x": times,
                "y": [moment.hypervolume for moment in history.moments],
                "line": {"shape": "hv", "width": 2, "color": "accent"},
                "customdata": [moment.finished for moment in history.moments],
                "hovertemplate": "%{y:,.6g}<br>after %{customdata} trials<extra></extra>",
            },
        ],
    }


def _remaining(told: Sequence[FrontAt], size: float) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "at most still to gain",
        "x": [moment.seconds / size for moment in told],
        "y": [moment.remaining for moment in told],
        "yaxis": "y2",
        "line": {"width": 1.5, "color": "muted", "dash": "dot"},
        "hovertemplate": "at most %{y:.1%} to gain<extra></extra>",
    }


def compare_plot(figures: Mapping[str, FrontFigure]) -> dict[str, Any]:
    """The fronts of several studies in one plot, a colour each."""
    traces: list[Trace] = []
    for place, (name, figure) in enumerate(figures.items()):
        color = OF_STUDIES[place % len(OF_STUDIES)]
        stairs = _stairs(figure) | {"line": {"color": color, "width": 1.5}, "showlegend": False}
        points = _points(name, figure.members, 10)
        points["marker"]["color"] = color
        for bar in ("error_x", "error_y"):
            points[bar]["color"] = color
        traces += [stairs | {"legendgroup": name}, points | {"name": name}]
    first = next(iter(figures.values()))
    return {"x": _axis(first.x_axis), "y": _axis(first.y_axis), "traces": traces}


def _axis(axis: Axis) -> dict[str, Any]:
    return {"title": axis_title(axis), "name": axis.name}


def _stairs(figure: FrontFigure) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": figure.border,
        "x": [x for x, _ in figure.staircase],
        "y": [y for _, y in figure.staircase],
        "line": {"color": "accent", "width": 1.5},
        "hoverinfo": "skip",
    }


def _scaling(figure: FrontFigure) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": SCALING,
        "x": [point.x for point in figure.scaling],
        "y": [point.y for point in figure.scaling],
        "line": {"color": "ink", "width": 1.5, "dash": "dash"},
        "marker": {"color": "ink", "size": 9, "symbol": "square-open"},
        "customdata": [point.number for point in figure.scaling],
        "hovertext": [point.hover for point in figure.scaling],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _by_kind(points: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    kinds = ((kind, [point for point in points if point.method == kind]) for kind in KINDS)
    return [(kind, found) for kind, found in kinds if found]


def _points(
    kind: str, points: Sequence[Point], size: int, name: str = "", many: bool = False
) -> Trace:
    """Points of one kind with error bars; ``customdata`` is the number of the trial."""
    hover: Trace = {"hovertemplate": "trial %{customdata}<br>%{y:.4g}, %{x:,}<extra></extra>"}
    if not many:
        texts = [point.hover for point in points]
        hover = {"hovertext": texts, "hovertemplate": "%{hovertext}<extra></extra>"}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name or kind.replace("_", " "),
        "legendgroup": name or kind,
        "x": [point.x for point in points],
        "y": [point.y for point in points],
        "error_x": _bar(kind, [point.x_error for point in points]),
        "error_y": _bar(kind, [point.error for point in points]),
        "customdata": [point.number for point in points],
        "marker": {"size": size, "color": kind, "line": {"width": 1, "color": "paper"}},
        **hover,
    }


def _bar(color: str, errors: list[float]) -> dict[str, Any]:
    return {"array": errors, "color": color, "thickness": 1, "width": 3, "visible": any(errors)}


def _dominated(figure: FrontFigure) -> list[Trace]:
    """Plans beside the front: small and pale, in the legend only where the front lacks the kind."""
    on_front = {point.method for point in figure.members}
    traces = []
    for kind, points in _by_kind(figure.others):
        trace = _points(kind, points, 7, many=len(figure.others) > MANY)
        traces.append(trace | {"opacity": FAINT, "showlegend": kind not in on_front})
    return traces


def _excluded(figure: FrontFigure) -> list[Trace]:
    trace = _points("muted", figure.excluded, 8, "beyond a limit")
    trace["marker"]["symbol"] = "x"
    return [trace]


def _stopped(points: Sequence[Point]) -> Trace:
    trace = _points("muted", points, 8, "stopped early")
    trace["marker"] |= {"symbol": "circle-open", "line": {"width": 1.5, "color": "muted"}}
    return trace


def _third(members: Sequence[Point], axis: Axis) -> Trace:
    """The third objective as the colour of a dot on each plan of the front, with its scale; the
    method stays as a ring around it.
    """
    bar = {"title": {"text": axis_title(axis), "side": "right"}, "thickness": 12}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": axis.name,
        "x": [point.x for point in members],
        "y": [point.y for point in members],
        "marker": {
            "size": 9,
            "color": [point.z for point in members],
            "colorscale": "Viridis",
            "reversescale": True,
            "showscale": True,
            "colorbar": bar,
        },
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _knee(points: Sequence[Point]) -> Trace:
    """A ring around the knee, which hides no point from the mouse."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "knee",
        "x": [point.x for point in points],
        "y": [point.y for point in points],
        "marker": {
            "size": 22,
            "symbol": "circle-open",
            "color": "accent",
            "line": {"width": 2.5, "color": "accent"},
        },
        "hoverinfo": "skip",
    }


def _references(points: Sequence[Point]) -> Trace:
    """The papers' plans and the unshared network: hollow diamonds around their points. ``text`` has
    their names, which the page puts where there is room.
    """
    trace = _points("reference", points, 15, "references")
    del trace["error_x"], trace["error_y"]
    trace["marker"] |= {"symbol": "diamond-open", "line": {"width": 2, "color": "reference"}}
    return trace | {"text": [point.label for point in points]}
