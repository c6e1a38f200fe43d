"""Draws pages from templates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from isoshare.search.options.definition import LARGEST
from isoshare.search.results.describe import brief, roughly
from isoshare.search.service.access.addresses import under
from isoshare.search.service.access.security import caller_of
from isoshare.search.service.errors import Problem
from isoshare.search.service.models import StudyView, TrialView
from isoshare.search.service.pages.wording import without_flags

FORM = "application/x-www-form-urlencoded"
templates = Jinja2Templates(directory=Path(__file__).parent / "templates")


def number(value: float | None) -> str:
    """``1,396``, ``0.934``; ``–`` for none."""
    if value is None:
        return "–"
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def with_error(values: dict[str, float], errors: dict[str, float], name: str) -> str:
    """``0.934 ± 0.004``."""
    if name in values and name in errors:
        return f"{values[name]:.3f} ± {errors[name]:.3f}"
    return number(values.get(name))


def in_column(values: Sequence[float | None]) -> list[str]:
    """Numbers of one column, all with as many decimals: four digits of the largest one."""
    known = [abs(value) for value in values if value is not None]
    whole = all(float(value).is_integer() for value in known)
    largest = max(known, default=0.0)
    places = 0 if whole or largest >= 1000 else min(6, 3 - math.floor(math.log10(largest)))
    return ["–" if value is None else f"{value:,.{places}f}" for value in values]


def best_plans(studies: Sequence[StudyView]) -> list[str]:
    """What the best plan of each study is worth: ``0.8970 accuracy, 1,396 parameters``, with equal
    decimals for each objective; nothing where there is none.
    """
    found = [study.best.values if study.best else {} for study in studies]
    names = {name for values in found for name in values}
    columns = {name: in_column([values.get(name) for values in found]) for name in names}
    return [
        ", ".join(f"{columns[name][place]} {words(name)}" for name in values)
        for place, values in enumerate(found)
    ]


def words(name: object) -> str:
    """``device_bytes`` as people write it."""
    return str(name).replace("_", " ")


def with_errors(rows: Sequence[TrialView], name: str) -> list[str]:
    """An objective of some trials as a column: ``0.934 ± 0.004`` where it has standard errors."""
    values = [row.values.get(name) for row in rows]
    errors = [row.standard_error.get(name) for row in rows]
    if not any(error is not None for error in errors):
        return in_column(values)
    bars = ["" if error is None else f" ± {error:.3f}" for error in errors]
    shown = ["–" if value is None else f"{value:.3f}" for value in values]
    return [value + bar for value, bar in zip(shown, bars, strict=True)]


def plain(value: object) -> str:
    """An option as on the command line: ``depth=20 width=2``, ``accuracy,parameters``."""
    if isinstance(value, dict):
        return " ".join(f"{key}={inner}" for key, inner in value.items()) or "–"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "–" if value is None else str(value)


def moment(time: datetime) -> str:
    """A time for people, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def when(time: datetime) -> str:
    """The same where nothing else says that it is UTC."""
    return f"{moment(time)} UTC"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h``, ``2 days``."""
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{max(1, round(seconds / size))} {unit}"
    return f"{round(seconds / 86_400)} days"


templates.env.filters |= {
    "duration": duration,
    "number": number,
    "plain": plain,
    "moment": moment,
    "when": when,
    "words": words,
    "roughly": roughly,
    "without_flags": without_flags,
    "segment": lambda text: quote(str(text), safe=""),
}
# Names of older studies: "/" ends a segment however it is written, dots lead elsewhere.
templates.env.tests["addressable"] = lambda name: "/" not in name and name not in (".", "..")
templates.env.globals |= {
    "with_error": with_error,
    "in_column": in_column,
    "best_plans": best_plans,
    "brief": brief,
    "plotly_address": f"/plotly.js?v={version('plotly')}",
}


def render(request: Request, template: str, status: int = 200, /, **values: Any) -> Response:
    """A page; every one knows who looks at it."""
    settings = request.app.state.settings
    caller = getattr(request.state, "caller", None) or caller_of(request)
    known = {
        "root": request.scope.get("root_path", ""),
        "here_path": under(request.scope),
        "role": caller.role if caller else None,
        "caller": caller.name if caller else "",
        "has_tokens": bool(settings.tokens.digests),
    }
    return templates.TemplateResponse(request, template, {**known, **values}, status_code=status)


def problem_page(request: Request, problem: Problem) -> Response:
    """An error as a page; who is not logged in is asked to."""
    if problem.answer.error.code == "not_logged_in":
        return see(request, "/login?" + urlencode({"next": under(request.scope)}))
    answer = render(
        request,
        "problem.html",
        problem.status,
        error=problem.answer.error,
        phrase=HTTPStatus(problem.status).phrase,
    )
    answer.headers.update(problem.headers)
    return answer


def see(request: Request, place: str) -> Response:
    """Send the browser to another page of this service."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}{place}", status_code=303)


async def form_values(request: Request) -> dict[str, list[str]]:
    """The fields of a form that was sent. Raises Problem: a body of another kind would be read as a
    form in which nothing is filled in.
    """
    kind = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if kind != FORM:
        raise Problem("wrong_request", f"a form is sent as {FORM}, got {kind[:80]!r}")
    try:
        return parse_qs((await request.body()).decode(), max_num_fields=200)
    except ValueError as error:
        raise Problem("wrong_request", "this is not a form that can be read") from error


def read_number(text: str, label: str) -> float | None:
    """A number that was typed into a form; None if none was. Raises Problem."""
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        raise Problem("invalid", f"{label!r} takes a number, got {text[:40]!r}")
    return number
