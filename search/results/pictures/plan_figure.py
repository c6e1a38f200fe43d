"""The picture of a plan as a figure of plotly: each site a bar, coloured by its bank."""

from __future__ import annotations

from typing import Any

from isoshare.search.results.pictures.plan_picture import Box, PlanPicture

PRIVATE = "#d1d5db"


def draw_plan(picture: PlanPicture) -> Any:
    """A ``plotly.graph_objects.Figure``: sites in module order, as high as they have channels."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number in (None, *(bank.number for bank in picture.banks)):
        boxes = [box for box in picture.boxes if box.bank == number]
        if boxes:
            figure.add_bar(**_bars(boxes, number, picture))
    figure.update_layout(
        title=f"{picture.shared:,} of {picture.unshared:,} parameters",
        xaxis={
            "title": "sites, in module order",
            "categoryorder": "array",
            "categoryarray": [box.name for box in picture.boxes],
        },
        yaxis={"title": "channels", "type": "log"},
        template="plotly_white",
        barmode="overlay",
        bargap=0.1,
    )
    return figure


def _bars(boxes: list[Box], number: int | None, picture: PlanPicture) -> dict[str, Any]:
    """The sites of one bank, or the private ones."""
    bank = None if number is None else picture.banks[number - 1]
    return {
        "x": [box.name for box in boxes],
        "y": [box.out_channels for box in boxes],
        "text": [str(number or "") for _ in boxes],
        "name": "private" if bank is None else f"bank {bank.number}: {bank.summary}",
        "marker": {"color": PRIVATE if bank is None else bank.color},
        "hovertext": [f"{box.name}, {box.shape}, {box.parameters:,} parameters" for box in boxes],
        "hoverinfo": "text",
    }
