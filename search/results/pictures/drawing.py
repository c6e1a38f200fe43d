"""Draws the picture of a front.

The HTML is drawn by plotly and holds all it needs, so it can be mailed and opened offline. The PNG
is drawn by matplotlib, because plotly's own needs a browser to be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.search.pareto import Axis
from isoshare.search.results.pictures.figures import SCALING, FrontFigure, Point, axis_title
from isoshare.space.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = "viridis_r"
"""Of a third objective; plotly and matplotlib both know the name."""
BLUE, ORANGE, GREY, INK = "#2563eb", "#d97706", "#9ca3af", "#111827"

BUTTONS: dict[str, Any] = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d"],
    "plotlyServerURL": "",
}
"""Of the interactive picture: nothing is sent to plotly's servers."""


@dataclass(frozen=True)
class _Cloud:
    """Points that look the same and stand in the legend together; size in pixels."""

    name: str
    points: tuple[Point, ...]
    color: str
    size: int
    crossed: bool = False


def front_html(figure: FrontFigure) -> str:
    """The same as a part of another page, as high as what holds it."""
    drawing = draw_interactive(figure)
    drawing.update_layout(title=None, margin={"t": 20, "r": 20})
    page: str = drawing.to_html(
        include_plotlyjs=True, full_html=False, default_height="100%", config=BUTTONS
    )
    return page


def draw_interactive(figure: FrontFigure) -> Any:
    """The front as a figure of plotly."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    corners = figure.staircase
    drawing.add_scatter(
        x=[x for x, _ in corners],
        y=[y for _, y in corners],
        mode="lines",
        line={"color": BLUE if figure.color_axis is None else GREY, "width": 1.5},
        name=figure.border,
        hoverinfo="skip",
    )
    if figure.scaling:
        look = {"mode": "lines+markers", "marker": {"symbol": "square-open", "size": 9}}
        where = {"x": [one.x for one in figure.scaling], "y": [one.y for one in figure.scaling]}
        said = {"hovertext": [one.hover for one in figure.scaling], "name": SCALING}
        drawing.add_scatter(**look, **where, **said, line={"color": INK, "dash": "dash"})
    for cloud in _clouds(figure):
        colored = cloud.points == figure.members
        _add_points(drawing, cloud, figure.color_axis if colored else None)
    _add_references(drawing, figure.references, hollow=figure.color_axis is not None)
    drawing.update_layout(
        title=figure.title,
        xaxis_title=axis_title(figure.x_axis),
        yaxis_title=axis_title(figure.y_axis),
        template="plotly_white",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "y": -0.15},
    )
    return drawing


def write_scores_png(
    points: Sequence[tuple[float, float]], title: str, what: str, path: Path
) -> None:
    """Draw what is expected of plans against their parameters, (parameters, value).

    what: the value in words.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = drawing.add_subplot()
    axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, color=BLUE)
    axes.set(title=title, xlabel="parameters", ylabel=what, xscale="log")
    with atomic_write(path) as half:
        drawing.savefig(half, format="png")


def write_png(figure: FrontFigure, path: Path) -> None:
    """Draw the same picture for documents."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = drawing.add_subplot()
    border = BLUE if figure.color_axis is None else GREY
    axes.plot(*zip(*figure.staircase, strict=True), color=border, linewidth=1.2, zorder=1)
    if figure.scaling:
        places = zip(*((point.x, point.y) for point in figure.scaling), strict=True)
        axes.plot(*places, "s--", color=INK, fillstyle="none", linewidth=1.2, label=SCALING)
    for cloud in _clouds(figure):
        axes.errorbar(
            [point.x for point in cloud.points],
            [point.y for point in cloud.points],
            xerr=[point.x_error for point in cloud.points],
            yerr=[point.error for point in cloud.points],
            fmt="x" if cloud.crossed else "o",
            markersize=0.6 * cloud.size,
            color=cloud.color,
            ecolor=cloud.color if figure.color_axis is None else GREY,
            elinewidth=0.8,
            label=cloud.name,
        )
    if figure.color_axis is not None and figure.members:
        _draw_colors(drawing, axes, figure)
    _draw_references(axes, figure)
    axes.set(title=figure.title, xlabel=axis_title(figure.x_axis), ylabel=axis_title(figure.y_axis))
    axes.grid(alpha=0.25)
    if _clouds(figure):
        drawing.legend(loc="outside lower center", ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as half:
        drawing.savefig(half, format="png")


def _draw_colors(drawing: Figure, axes: Axes, figure: FrontFigure) -> None:
    """The third objective of the members, as the colour of a dot on each."""
    assert figure.color_axis is not None, "called for a third objective"
    colors = axes.scatter(
        [point.x for point in figure.members],
        [point.y for point in figure.members],
        c=[point.z or 0.0 for point in figure.members],
        cmap=COLORS,
        s=50,
        zorder=3,
    )
    drawing.colorbar(colors, label=axis_title(figure.color_axis))


def _draw_references(axes: Axes, figure: FrontFigure) -> None:
    """Named plans as diamonds, hollow where there is a colour to be seen inside."""
    hollow = figure.color_axis is not None
    left, right = axes.get_xlim()
    for point in figure.references:
        axes.plot(
            point.x,
            point.y,
            "D",
            color=ORANGE,
            markersize=11 if hollow else 7,
            fillstyle="none" if hollow else "full",
            zorder=4,
        )
        beyond_middle = point.x > (left + right) / 2
        axes.annotate(
            point.label,
            (point.x, point.y),
            textcoords="offset points",
            xytext=(-8 if beyond_middle else 8, 8),
            ha="right" if beyond_middle else "left",
            color=ORANGE,
        )


def _clouds(figure: FrontFigure) -> list[_Cloud]:
    """What is drawn point by point, from the back to the front; empty ones left out."""
    clouds = (
        _Cloud("dominated plans", figure.others, GREY, 7),
        _Cloud("plans beyond a limit", figure.excluded, GREY, 8, crossed=True),
        _Cloud("plans on the front", figure.members, BLUE, 10),
    )
    return [cloud for cloud in clouds if cloud.points]


def _add_points(drawing: object, cloud: _Cloud, color_axis: Axis | None) -> None:
    """color_axis: what the colour of the points says, in place of the cloud's own."""
    points = cloud.points
    marker: dict[str, object] = {"color": cloud.color, "size": cloud.size}
    bars = cloud.color if color_axis is None else GREY
    if cloud.crossed:
        marker["symbol"] = "x"
    if color_axis is not None:
        bar = {"title": {"text": axis_title(color_axis), "side": "right"}}
        shown = {"colorscale": COLORS, "colorbar": bar, "showscale": True}
        marker |= {"color": [point.z for point in points], **shown}
    drawing.add_scatter(  # type: ignore[attr-defined]
        x=[point.x for point in points],
        y=[point.y for point in points],
        error_x={"array": [point.x_error for point in points], **_bar(bars)},
        error_y={"array": [point.error for point in points], **_bar(bars)},
        mode="markers",
        marker=marker,
        hovertext=[point.hover for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        name=cloud.name,
    )


def _bar(color: str) -> dict[str, object]:
    return {"color": color, "thickness": 1, "width": 3}


def _add_references(drawing: object, points: Sequence[Point], hollow: bool) -> None:
    leftmost = min((point.x for point in points), default=0.0)
    drawing.add_scatter(  # type: ignore[attr-defined]
        x=[point.x for point in points],
        y=[point.y for point in points],
        mode="markers+text",
        marker={
            "color": ORANGE,
            "size": 16 if hollow else 12,
            "symbol": "diamond-open" if hollow else "diamond",
        },
        text=[point.label for point in points],
        # Above: the staircase and what it dominates lie below.
        textposition=["top right" if point.x == leftmost else "top left" for point in points],
        textfont={"color": ORANGE},
        cliponaxis=False,
        hovertext=[point.hover for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        name="references",
    )
