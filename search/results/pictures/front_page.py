"""The picture of a front as a page that can be used: one file that works offline."""

from __future__ import annotations

from html import escape
from pathlib import Path

from isoshare.search.results.pictures.drawing import BUTTONS, draw_interactive
from isoshare.search.results.pictures.figures import FrontFigure
from isoshare.search.results.pictures.turnable import draw_turnable
from isoshare.space.files import atomic_write

PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{body}</html>'


def write_html(figure: FrontFigure, path: Path) -> None:
    """Draw it; below, a front of three objectives in space as well."""
    parts = [
        draw_interactive(figure).to_html(include_plotlyjs=True, full_html=False, config=BUTTONS)
    ]
    if figure.color_axis is not None:
        parts.append(
            draw_turnable(figure).to_html(include_plotlyjs=False, full_html=False, config=BUTTONS)
        )
    page = PAGE.format(title=escape(figure.title), body="".join(parts))
    with atomic_write(path) as half:
        half.write_text(page, encoding="utf-8")
