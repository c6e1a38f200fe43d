"""The pages: the same as the REST API, for people. Drawn on the server; scripts only keep them
up to date and draw the plots.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Annotated, Any, cast, get_args
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from isoshare.search.service.access.security import launcher, reader
from isoshare.search.service.errors import Problem
from isoshare.search.service.models import State
from isoshare.search.service.pages.forms import (
    complaints,
    filled_in,
    form_fields,
    idle_fields,
    read_form,
    shown_defaults,
)
from isoshare.search.service.pages.rendering import form_values, read_number, render, see
from isoshare.search.service.pages.study_pages import plan_values
from isoshare.search.service.pages.wording import without_flags
from isoshare.search.service.rest.asking import All
from isoshare.search.service.settings import Caller
from isoshare.search.service.studies.known_studies import Studies
from isoshare.search.service.studies.study_query import StudyQuery, found
from isoshare.space.errors import one_of

A_PAGE = 50
router = APIRouter(include_in_schema=False, dependencies=[Depends(reader)])
Form = Annotated[dict[str, list[str]], Depends(form_values)]
MayLaunch = Depends(launcher)
Who = Annotated[Caller, Depends(launcher)]
Place = Annotated[int, Query(ge=1, le=10**6)]


def asked_for(search: str = "", state: str = "", tag: str = "", sort: str = "") -> StudyQuery:
    """Which studies a page shows. Raises Problem."""
    if state and state not in get_args(State):
        raise Problem("invalid", one_of("state", state, get_args(State)))
    known = cast("State | None", state or None)
    return StudyQuery(search[:200], known, tag[:40], sort or StudyQuery.sort)


Asked = Annotated[StudyQuery, Depends(asked_for)]


@router.get("/")
def list_studies(request: Request, studies: All, asked: Asked, page: Place = 1) -> Response:
    """All studies, or those that are asked for."""
    return render(request, "studies.html", **_studies(studies, asked, page))


@router.get("/fragments/studies")
def studies_fragment(request: Request, studies: All, asked: Asked, page: Place = 1) -> Response:
    """Their table alone, to replace the one of the page."""
    return render(request, "_studies.html", **_studies(studies, asked, page))


@router.get("/launch", dependencies=[MayLaunch])
def launch_form(request: Request, studies: All, like: str = "") -> Response:
    """The form of a new search; like: a study whose options are filled in. Other parameters are
    fields: who has no scripts asks that way for what goes with them.
    """
    asked = request.query_params
    filled = {key: asked.getlist(key) for key in asked}
    values = filled_in(studies.options(like)) if like else filled
    return render(request, "launch.html", **_form(request, studies, values))


@router.get("/launch/defaults", dependencies=[MayLaunch])
def launch_defaults(request: Request, studies: All) -> dict[str, Any]:
    """What fields of the form stand for that are left empty, beside these that are filled in, and
    which have no effect then.
    """
    asked = request.query_params
    values = {key: asked.getlist(key) for key in asked}
    return {"defaults": shown_defaults(values, studies.names()), "idle": idle_fields(values)}


@router.post("/launch")
def launch(request: Request, studies: All, who: Who, values: Form) -> Response:
    """Start the search, or say what is wrong with the form."""
    try:
        launched = studies.launch(read_form(values), who.name)
    except Problem as problem:
        return render(
            request, "launch.html", problem.status, **_form(request, studies, values, problem)
        )
    return see(request, f"/studies/{quote(launched.name, safe='')}")


@router.get("/compare")
def compare(
    request: Request,
    studies: All,
    a: str = "",
    b: str = "",
    trial_a: str = "",
    trial_b: str = "",
    also: Annotated[list[str], Query(max_length=5)] = [],  # noqa: B006
) -> Response:
    """Two plans side by side, or the fronts of two or more studies."""
    names = list(studies.stored())[::-1]
    also = [name for name in dict.fromkeys(also) if name not in (a, b)]
    values: dict[str, Any] = {"names": names, "a": a, "b": b, "also": also}
    if not (a and b):
        return render(request, "compare.html", **values, trial_a=trial_a, trial_b=trial_b)
    chosen = (read_number(trial_a, "trial"), read_number(trial_b, "trial"))
    if (chosen[0] is None) != (chosen[1] is None):
        raise Problem("invalid", "two plans have two trial numbers: give both of them, or none")
    both = [studies.detail(name) for name in (a, b, *also)]
    values |= {"trial_a": trial_a, "trial_b": trial_b, "both": both}
    if chosen[0] is not None and chosen[1] is not None:
        numbers = [int(number) for number in chosen if number is not None]
        values["plans"] = [
            plan_values(studies.snapshot(name), number)
            for name, number in zip((a, b), numbers, strict=True)
        ]
    return render(request, "compare.html", **values)


@router.get("/audit")
def audit(request: Request, studies: All, page: Place = 1) -> Response:
    """Who did what."""
    deeds = studies.audit.deeds()
    pages = max(1, -(-len(deeds) // A_PAGE))
    page = min(page, pages)
    shown = deeds[(page - 1) * A_PAGE : page * A_PAGE]
    return render(request, "audit.html", deeds=shown, page=page, pages=pages)


@router.post("/launch/preview", dependencies=[MayLaunch])
def preview(request: Request, studies: All, values: Form, part: bool = False) -> Response:
    """What the search of the filled-in form would do, in the page or as the part that shows it."""
    problem, found, status = None, None, 200
    try:
        found = studies.preview(read_form(values))
    except Problem as error:
        problem, status = error, error.status
    known = {**_form(request, studies, values, problem), "preview": found}
    return render(request, "_preview.html" if part else "launch.html", status, **known)


def _form(
    request: Request,
    studies: Studies,
    values: dict[str, list[str]],
    problem: Problem | None = None,
) -> dict[str, Any]:
    fields = form_fields(request.app.state.settings)
    return {
        "groups": [(name, [*group]) for name, group in groupby(fields, lambda one: one.heading)],
        "labels": {field.key: field.label for field in fields},
        "defaults": shown_defaults(values, studies.names()),
        "idle": idle_fields(values),
        "values": values,
        "wrong": complaints(problem) if problem else {},
        "error": without_flags(problem.answer.error.message) if problem else "",
    }


def _studies(studies: Studies, asked: StudyQuery, page: int) -> dict[str, Any]:
    shown, total = found(studies, asked, (page - 1) * A_PAGE, A_PAGE)
    pages = max(1, -(-total // A_PAGE))
    if page > pages:  # studies have been deleted since, or the address was typed
        page = pages
        shown, total = found(studies, asked, (page - 1) * A_PAGE, A_PAGE)
    given = {key: value for key, value in asdict(asked).items() if value}
    return {
        "studies": shown,
        "asked": asked,
        "query": urlencode(given),
        "page": page,
        "pages": pages,
        "total": total,
        "lost": studies.lost,
    }
