"""A study as it shows itself in a notebook: state, front and picture, in HTML without scripts."""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from html import escape
from pathlib import Path

from isoshare.search.pareto import knee, with_unit
from isoshare.search.results.describe import counted, plan_in_short, with_error
from isoshare.search.results.pictures.drawing import write_png
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.study_results import Results


def study_card(results: Results) -> str:
    """The HTML; a study without a front says so."""
    study = results.study
    states = Counter(trial.state for trial in results.outcomes)
    said = ", ".join(f"{number} {state}" for state, number in states.items())
    head = (
        f"<b>{escape(study.name)}</b>: {counted(len(results.outcomes), 'trial')}"
        f"{f' ({said})' if said else ''} of {study.context.plans:,} plans"
    )
    if not results.front.members:
        return f"<div>{head}; no trial has finished yet</div>"
    return f"<div>{head}{_table(results)}{_picture(results)}</div>"


def _table(results: Results) -> str:
    context, best = results.study.context, knee(results.front).number
    names = [axis.name for axis in results.front.axes]
    head = ["trial", *map(with_unit, results.front.axes), "sharing: kernels/sites"]
    rows = [
        [
            f"{trial.number}{' ◆' if trial.number == best else ''}",
            *(with_error(trial, name) for name in names),
            plan_in_short(trial.plan, context.of(trial.plan).sites),
        ]
        for trial in results.front.members
    ]
    return (
        f"<table><tr>{_cells(head, 'th')}</tr>"
        + "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
        + "</table>"
    )


def _cells(texts: list[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _picture(results: Results) -> str:
    with tempfile.TemporaryDirectory(prefix="isoshare-") as folder:
        path = Path(folder, "front.png")
        write_png(front_figure(results), path)
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="the front" width="640" src="data:image/png;base64,{data}">'
