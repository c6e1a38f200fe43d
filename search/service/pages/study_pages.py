"""The pages of one study and of one plan: the same as the REST API, for people."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from isoshare.search.results.choose import Best
from isoshare.search.results.describe import plan_in_brief
from isoshare.search.results.pictures.plan_picture import plan_picture
from isoshare.search.results.pictures.plan_svg import NARROW, draw_strip, draw_svg
from isoshare.search.results.pictures.plotly_figure import KINDS
from isoshare.search.service.access.security import launcher, reader
from isoshare.search.service.bodies import NoteRequest
from isoshare.search.service.errors import Problem
from isoshare.search.service.models import StudyDetail
from isoshare.search.service.pages.rendering import (
    form_values,
    in_column,
    read_number,
    render,
    see,
    with_errors,
)
from isoshare.search.service.rest.asking import All, Name, Number, One
from isoshare.search.service.runs.launching import ResumeOptions
from isoshare.search.service.settings import Caller
from isoshare.search.service.studies import trials
from isoshare.search.service.studies.known_studies import Studies
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.space.errors import first_problem
from isoshare.space.variants.arguments import label
from isoshare.storage.records import TrialState

A_PAGE = 50
router = APIRouter(include_in_schema=False, dependencies=[Depends(reader)])
Form = Annotated[dict[str, list[str]], Depends(form_values)]
MayLaunch = Depends(launcher)
Who = Annotated[Caller, Depends(launcher)]
LOG_LINES = 30
Place = Annotated[int, Query(ge=1, le=10**6)]


@router.get("/studies/{name}")
def study(request: Request, name: Name, studies: All) -> Response:
    """One study: its plots and its trials."""
    detail = studies.detail(name)
    if detail.version == 0:
        return render(request, "waiting.html", study=detail, log=_log(studies, detail))
    snapshot = studies.snapshot(name)
    wanted = trials.Wanted(on_front=True, sort=snapshot.results.front.axes[-1].name)
    return render(
        request,
        "study.html",
        study=detail,
        log=_log(studies, detail),
        kinds=KINDS,
        **_table(snapshot, wanted, 1),
    )


@router.get("/studies/{name}/facts")
def facts(request: Request, name: Name, studies: All) -> Response:
    """The facts at the top of a study's page, to replace those that are there."""
    detail = studies.detail(name)
    return render(request, "_facts.html", study=detail, log=_log(studies, detail))


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


@router.post("/studies/{name}/stop")
def stop(request: Request, name: Name, studies: All, who: Who) -> Response:
    """Interrupt a search."""
    studies.stop(name, who.name)
    return see(request, f"/studies/{quote(name, safe='')}")


@router.post("/studies/{name}/resume")
def resume(request: Request, name: Name, studies: All, who: Who, values: Form) -> Response:
    """Let a search go on."""
    given = {key: values[key][0] for key in ("trials", "workers") if values.get(key)}
    studies.resume(name, _resumed(given), who.name)
    return see(request, f"/studies/{quote(name, safe='')}")


@router.post("/studies/{name}/delete")
def delete(request: Request, name: Name, studies: All, who: Who) -> Response:
    """Remove a study."""
    studies.delete(name, who.name)
    return see(request, "/")


@router.post("/studies/{name}/note")
def note(request: Request, name: Name, studies: All, who: Who, values: Form) -> Response:
    """Note something on the study."""
    studies.note(name, None, _noted(values), who.name)
    return see(request, f"/studies/{quote(name, safe='')}")


@router.post("/studies/{name}/trials/{number}/note")
def trial_note(
    request: Request, name: Name, number: Number, studies: All, who: Who, values: Form
) -> Response:
    """Note something on a trial."""
    studies.note(name, number, _noted(values), who.name)
    return see(request, f"/studies/{quote(name, safe='')}/trials/{number}")


@router.post("/studies/{name}/rename")
def rename(request: Request, name: Name, studies: All, who: Who, values: Form) -> Response:
    """Give the study another name."""
    new = values.get("name", [""])[0].strip()
    studies.rename(name, new, who.name)
    return see(request, f"/studies/{quote(new, safe='')}")


@router.get("/studies/{name}/pick")
def pick(
    request: Request,
    snapshot: One,
    best: Best | None = None,
    max_parameters: str = "",
    min_accuracy: str = "",
) -> Response:
    """The page of the plan that is meant: within a limit, above an accuracy, or the knee."""
    most = read_number(max_parameters, "at most … parameters")
    least = read_number(min_accuracy, "at least … accuracy")
    trial = trials.best_trial(snapshot, best, None if most is None else int(most), least)
    return see(request, f"/studies/{quote(snapshot.study.name, safe='')}/trials/{trial.number}")


@router.get("/studies/{name}/trials/{number}")
def plan(request: Request, snapshot: One, number: Number) -> Response:
    """One plan: its picture, its banks, its measurements."""
    return render(request, "plan.html", **plan_values(snapshot, number))


def _log(studies: Studies, detail: StudyDetail) -> list[str]:
    """The end of the log of a search that ended otherwise than it should."""
    went_wrong = detail.state == "failed" or (detail.state == "interrupted" and detail.message)
    return studies.log(detail.name, LOG_LINES).lines if went_wrong else []


def _table(snapshot: Snapshot, wanted: trials.Wanted, page: int) -> dict[str, Any]:
    found = trials.chosen(snapshot, wanted)
    front = trials.on_front(snapshot)
    page = min(page, max(1, -(-len(found) // A_PAGE)))
    start = (page - 1) * A_PAGE
    shown = found[start : start + A_PAGE]
    rows = [trials.row(snapshot, trial, front) for trial in shown]
    axes = snapshot.results.front.axes
    return {
        "name": snapshot.study.name,
        "axes": axes,
        "unshared": snapshot.study.context.unshared,
        "wanted": wanted,
        "rows": rows,
        "columns": {axis.name: with_errors(rows, axis.name) for axis in axes},
        "tested": in_column([row.test.get("accuracy") for row in rows]),
        "words": {t.number: plan_in_brief(t.plan, snapshot.network(t.plan).sites) for t in shown},
        "strips": {t.number: draw_strip(t.plan, snapshot.network(t.plan).sites) for t in shown},
        "page": page,
        "pages": max(1, -(-len(found) // A_PAGE)),
        "total": len(found),
    }


def plan_values(snapshot: Snapshot, number: int) -> dict[str, Any]:
    """What the page of a plan shows. Raises Problem."""
    trial = trials.find(snapshot, number)
    context, network = snapshot.study.context, snapshot.network(trial.plan)
    picture = plan_picture(network.sites, trial.plan, network.unshared)
    return {
        "name": snapshot.study.name,
        "axes": snapshot.results.front.axes,
        "unshared": network.unshared,
        "backbone": context.backbone_of(trial.plan),
        "variant": label(trial.plan.variant),
        "trial": trials.detail(snapshot, trial),
        "banks": sorted(picture.banks, key=lambda bank: bank.shared - bank.unshared),
        "words": plan_in_brief(trial.plan, network.sites, 300),
        "picture": draw_svg(picture),
        "narrow_picture": draw_svg(picture, NARROW),
    }


def _noted(values: dict[str, list[str]]) -> NoteRequest:
    tags = values.get("tags", [""])[0].replace(",", " ").split()
    try:
        return NoteRequest(text=values.get("text", [""])[0], tags=tags)
    except ValidationError as error:
        raise Problem("invalid", first_problem(error)) from error


def _resumed(given: dict[str, str]) -> dict[str, Any]:
    try:
        return ResumeOptions.model_validate(given).model_dump(exclude_none=True)
    except ValidationError as error:
        raise Problem("invalid", first_problem(error)) from error
