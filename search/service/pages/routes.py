"""The pages: the same as the REST API, for people. Drawn on the server; scripts only keep them
up to date and draw the plots.
"""

from __future__ import annotations

import math
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from isoshare.search.options.definition import LARGEST
from isoshare.search.results.choose import Best
from isoshare.search.results.describe import plan_in_words
from isoshare.search.results.pictures.plan_picture import draw_svg, plan_picture
from isoshare.search.results.pictures.plotly_figure import KINDS
from isoshare.search.service import trials
from isoshare.search.service.api import All, Name, Number, One
from isoshare.search.service.errors import Problem
from isoshare.search.service.launching import ResumeOptions
from isoshare.search.service.pages.forms import form_defaults, form_fields, read_form
from isoshare.search.service.pages.rendering import form_values, render, see
from isoshare.search.service.security import launcher, reader
from isoshare.search.service.studies import Studies
from isoshare.search.service.study_cache import Snapshot
from isoshare.space.errors import first_problem
from isoshare.storage.records import TrialState

A_PAGE = 50
router = APIRouter(include_in_schema=False, dependencies=[Depends(reader)])
Form = Annotated[dict[str, list[str]], Depends(form_values)]
MayLaunch = Depends(launcher)
Place = Annotated[int, Query(ge=1, le=10**6)]


@router.get("/")
def list_studies(request: Request, studies: All, page: Place = 1) -> Response:
    """All studies."""
    return render(request, "studies.html", **_studies(studies, page))


@router.get("/fragments/studies")
def studies_fragment(request: Request, studies: All, page: Place = 1) -> Response:
    """Their table alone, to replace the one of the page."""
    return render(request, "_studies.html", **_studies(studies, page))


@router.get("/launch", dependencies=[MayLaunch])
def launch_form(request: Request) -> Response:
    """The form of a new search."""
    return render(request, "launch.html", **_form(request, {}))


@router.get("/launch/defaults", dependencies=[MayLaunch])
def launch_defaults(request: Request) -> dict[str, str]:
    """What fields of the form stand for that are left empty, beside these that are filled in."""
    asked = request.query_params
    return form_defaults({key: asked.getlist(key) for key in asked})


@router.post("/launch", dependencies=[MayLaunch])
def launch(request: Request, studies: All, values: Form) -> Response:
    """Start the search, or say what is wrong with the form."""
    try:
        launched = studies.launch(read_form(values))
    except Problem as problem:
        said = {**_form(request, values), "error": problem.answer.error}
        return render(request, "launch.html", problem.status, **said)
    return see(f"/studies/{quote(launched.name, safe='')}")


@router.get("/studies/{name}")
def study(request: Request, name: Name, studies: All) -> Response:
    """One study: its plots and its trials."""
    detail = studies.detail(name)
    if detail.version == 0:
        return render(request, "waiting.html", study=detail)
    snapshot = studies.snapshot(name)
    wanted = trials.Wanted(on_front=True, sort=snapshot.results.front.axes[-1].name)
    return render(
        request,
        "study.html",
        study=detail,
        kinds=KINDS,
        **_table(snapshot, wanted, 1),
    )


@router.get("/studies/{name}/facts")
def facts(request: Request, name: Name, studies: All) -> Response:
    """The facts at the top of a study's page, to replace those that are there."""
    return render(request, "_facts.html", study=studies.detail(name))


@router.get("/studies/{name}/table")
def table(
    request: Request,
    snapshot: One,
    state: TrialState | None = None,
    method: str | None = None,
    show: str = "front",
    sort: str = "number",
    page: Place = 1,
) -> Response:
    """The table of trials, chosen and sorted, to replace the one that is there."""
    wanted = trials.Wanted(state, method or None, show == "front", sort)
    return render(request, "_table.html", **_table(snapshot, wanted, page))


@router.post("/studies/{name}/stop", dependencies=[MayLaunch])
def stop(name: Name, studies: All) -> Response:
    """Interrupt a search."""
    studies.stop(name)
    return see(f"/studies/{quote(name, safe='')}")


@router.post("/studies/{name}/resume", dependencies=[MayLaunch])
def resume(name: Name, studies: All, values: Form) -> Response:
    """Let a search go on."""
    given = {key: values[key][0] for key in ("trials", "workers") if values.get(key)}
    studies.resume(name, _resumed(given))
    return see(f"/studies/{quote(name, safe='')}")


@router.post("/studies/{name}/delete", dependencies=[MayLaunch])
def delete(name: Name, studies: All) -> Response:
    """Remove a study."""
    studies.delete(name)
    return see("/")


@router.get("/studies/{name}/pick")
def pick(
    snapshot: One, best: Best | None = None, max_parameters: str = "", min_accuracy: str = ""
) -> Response:
    """The page of the plan that is meant: within a limit, above an accuracy, or the knee."""
    most = _number(max_parameters, "at most … parameters")
    least = _number(min_accuracy, "at least … accuracy")
    trial = trials.best_trial(snapshot, best, None if most is None else int(most), least)
    return see(f"/studies/{quote(snapshot.study.name, safe='')}/trials/{trial.number}")


@router.get("/studies/{name}/trials/{number}")
def plan(request: Request, snapshot: One, number: Number) -> Response:
    """One plan: its picture, its banks, its measurements."""
    return render(request, "plan.html", **_plan(snapshot, number))


@router.get("/compare")
def compare(
    request: Request,
    studies: All,
    a: str = "",
    b: str = "",
    trial_a: str = "",
    trial_b: str = "",
) -> Response:
    """Two studies, or two plans, side by side."""
    values: dict[str, Any] = {"names": list(studies.stored())[::-1], "a": a, "b": b}
    if not (a and b):
        return render(request, "compare.html", **values, trial_a=trial_a, trial_b=trial_b)
    chosen = (_number(trial_a, "trial"), _number(trial_b, "trial"))
    if (chosen[0] is None) != (chosen[1] is None):
        raise Problem("invalid", "two plans have two trial numbers: give both of them, or none")
    both = [studies.detail(a), studies.detail(b)]
    values |= {"trial_a": trial_a, "trial_b": trial_b, "both": both}
    if chosen[0] is not None and chosen[1] is not None:
        numbers = [int(number) for number in chosen if number is not None]
        values["plans"] = [
            _plan(studies.snapshot(name), number)
            for name, number in zip((a, b), numbers, strict=True)
        ]
    return render(request, "compare.html", **values)


def _form(request: Request, values: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "fields": form_fields(request.app.state.settings),
        "defaults": form_defaults(values),
        "values": values,
    }


def _studies(studies: Studies, page: int) -> dict[str, Any]:
    names = studies.names()
    start = (page - 1) * A_PAGE
    return {
        "studies": [studies.detail(name) for name in names[start : start + A_PAGE]],
        "page": page,
        "pages": max(1, -(-len(names) // A_PAGE)),
        "total": len(names),
        "lost": studies.lost,
    }


def _table(snapshot: Snapshot, wanted: trials.Wanted, page: int) -> dict[str, Any]:
    found = trials.chosen(snapshot, wanted)
    front = trials.on_front(snapshot)
    start = (page - 1) * A_PAGE
    shown = found[start : start + A_PAGE]
    return {
        "name": snapshot.study.name,
        "axes": snapshot.results.front.axes,
        "unshared": snapshot.study.context.unshared,
        "wanted": wanted,
        "rows": [trials.row(snapshot, trial, front) for trial in shown],
        "words": {t.number: plan_in_words(t.plan, snapshot.sites) for t in shown},
        "page": page,
        "pages": max(1, -(-len(found) // A_PAGE)),
        "total": len(found),
    }


def _plan(snapshot: Snapshot, number: int) -> dict[str, Any]:
    trial = trials.find(snapshot, number)
    unshared = snapshot.study.context.unshared
    picture = plan_picture(snapshot.sites, trial.plan, unshared)
    return {
        "name": snapshot.study.name,
        "axes": snapshot.results.front.axes,
        "unshared": unshared,
        "backbone": snapshot.study.context.backbone,
        "trial": trials.detail(snapshot, trial),
        "banks": picture.banks,
        "words": plan_in_words(trial.plan, snapshot.sites),
        "picture": draw_svg(picture),
    }


def _number(text: str, label: str) -> float | None:
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        raise Problem("invalid", f"{label!r} takes a number, got {text[:40]!r}")
    return number


def _resumed(given: dict[str, str]) -> dict[str, Any]:
    try:
        return ResumeOptions.model_validate(given).model_dump(exclude_none=True)
    except ValidationError as error:
        raise Problem("invalid", first_problem(error)) from error
