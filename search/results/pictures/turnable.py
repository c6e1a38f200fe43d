"""A front of three objectives in space, to be turned with the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isoshare.search.pareto import Axis
from isoshare.search.results.pictures.drawing import COLORS, GREY, INK
from isoshare.search.results.pictures.figures import SCALING, FrontFigure, Point, axis_title

SEVERAL = 5
"""Between the largest and the smallest, for an axis to be logarithmic."""


def draw_turnable(figure: FrontFigure) -> Any:
    """The plans of a front of three objectives as a figure of plotly in three dimensions.

    Those on the front are coloured by the third objective, as in the flat picture beside it.
    """
    import plotly.graph_objects as go

    assert figure.color_axis is not None, "two objectives are drawn flat"
    drawing = go.Figure()
    third = {"color": [point.z for point in figure.members], "colorscale": COLORS}
    for name, points, marker in (
        ("dominated plans", figure.others, {"color": GREY, "size": 3}),
        (SCALING, figure.scaling, {"color": INK, "size": 5, "symbol": "square-open"}),
        ("plans on the front", figure.members, {**third, "size": 5}),
    ):
        if points:
            drawing.add_scatter3d(**_places(points), name=name, mode="markers", marker=marker)
    drawing.update_layout(
        title="the same in space: drag to turn it",
        scene={
            "xaxis": _axis(figure.x_axis, [point.x for point in figure.members]),
            "yaxis": _axis(figure.color_axis, [point.z or 0.0 for point in figure.members]),
            "zaxis": _axis(figure.y_axis, [point.y for point in figure.members]),
            "camera": {"eye": {"x": -1.6, "y": -1.6, "z": 0.7}},
        },
        template="plotly_white",
        height=700,
        legend={"orientation": "h", "y": -0.05},
    )
    return drawing


def _axis(axis: Axis, values: Sequence[float]) -> dict[str, Any]:
    """Logarithmic where the members are of several sizes: they would lie in one corner."""
    spread = bool(values) and min(values) > 0 and max(values) > SEVERAL * min(values)
    return {"title": {"text": axis_title(axis)}, "type": "log" if spread else "linear"}


def _places(points: tuple[Point, ...]) -> dict[str, Any]:
    return {
        "x": [point.x for point in points],
        "y": [point.z for point in points],
        "z": [point.y for point in points],
        "hovertext": [point.hover for point in points],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }
