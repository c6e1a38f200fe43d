"""The REST API about what a study found: trials, front, figures, plan files."""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request, Response

from isoshare.search.results.choose import Best
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.plan_picture import plan_picture
from isoshare.search.results.pictures.plotly_figure import compare_plot
from isoshare.search.service import models
from isoshare.search.service.errors import Problem
from isoshare.search.service.rest.asking import (
    MISSING,
    All,
    Limit,
    Number,
    Offset,
    One,
    reads,
)
from isoshare.search.service.studies import trials
from isoshare.search.study_names import is_plain
from isoshare.space.plan import PlanFile
from isoshare.storage.records import TrialState

THIS_PROCESS = secrets.token_hex(4)
"""Versions of studies count from the start of the service."""


@reads.get("/studies/{name}/trials", responses=MISSING)
def list_trials(
    study: One,
    offset: Offset = 0,
    limit: Limit = 50,
    state: TrialState | None = None,
    method: Annotated[str | None, Query(description="How the plan shares.")] = None,
    on_front: Annotated[bool, Query(description="Only those on the front.")] = False,
    sort: Annotated[
        str, Query(description="number, state, method, origin, seconds or an objective; -: down.")
    ] = "number",
) -> models.TrialPage:
    """The trials of a study, chosen and sorted."""
    found = trials.chosen(study, trials.Wanted(state, method, on_front, sort))
    front = trials.on_front(study)
    items = [trials.row(study, trial, front) for trial in found[offset : offset + limit]]
    return models.TrialPage(items=items, total=len(found), offset=offset, limit=limit)


@reads.get("/studies/{name}/trials/{number}", responses=MISSING)
def get_trial(study: One, number: Number) -> models.TrialDetail:
    """One trial with its plan and all its measurements."""
    return trials.detail(study, trials.find(study, number))


@reads.get("/studies/{name}/trials/{number}/plan", responses=MISSING, response_model=PlanFile)
def get_plan(study: One, number: Number) -> Response:
    """The plan file of a finished trial, as ``export --trial N`` writes it."""
    return plan_answer(trials.plan_of(study, number), f"{study.study.name}-{number}.json")


@reads.get("/studies/{name}/trials/{number}/counts", responses=MISSING)
def get_counts(study: One, number: Number) -> models.Counts:
    """What each bank of a plan saves, counted in closed form."""
    plan = trials.find(study, number).plan
    network = study.network(plan)
    banks = plan_picture(network.sites, plan, network.unshared).banks
    counts = [models.BankView(unshared=bank.unshared, shared=bank.shared) for bank in banks]
    return models.Counts(banks=counts)


@reads.get("/studies/{name}/front", responses=MISSING, response_model=models.FrontView)
def get_front(study: One) -> Response:
    """The Pareto front, as ``pareto --json`` prints it."""
    return Response(study.front, media_type="application/json")


@reads.get("/studies/{name}/hypervolume", responses=MISSING)
def get_hypervolume(study: One) -> models.Hypervolume:
    """How the hypervolume grew; pauses of the search count as time."""
    return models.Hypervolume(
        study=study.study.name,
        reference_point=study.results.front.reference_point,
        moments=list(study.history.moments),
    )


@reads.get("/studies/{name}/figure", responses=MISSING, response_model=dict[str, Any])
def get_figure(study: One, request: Request) -> Response:
    """The pictures of the page of a study as values for plotly.js; colours are names of roles.
    Who sends the ETag of the last answer gets it again only when it has changed.
    """
    tag = f'"{THIS_PROCESS}-{study.version}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(study.figure, media_type="application/json", headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(study.packed_figure, media_type="application/json", headers=headers)


@reads.get("/studies/{name}/importance", responses=MISSING, response_model=dict[str, Any])
def get_importance(study: One) -> Response:
    """What the first objective loses when a whole group shares, by method, with the uncertainty of
    the surrogate; and the importance of Optuna's parameters, for plans that Optuna proposed.
    """
    return Response(study.effects, media_type="application/json")


@reads.get("/studies/{name}/export", responses=MISSING, response_model=PlanFile)
def export(
    study: One,
    best: Best | None = None,
    max_parameters: Annotated[int | None, Query(ge=1)] = None,
    min_accuracy: Annotated[float | None, Query(gt=0, le=1)] = None,
) -> Response:
    """The plan file of the plan that is meant, as ``export`` writes it; the knee by default."""
    trial = trials.best_trial(study, best, max_parameters, min_accuracy)
    name = f"{study.study.name}-{trial.number}.json"
    return plan_answer(trials.plan_of(study, trial.number), name)


@reads.get("/compare", responses=MISSING)
def compare(
    studies: All,
    a: Annotated[str, Query(min_length=1)],
    b: Annotated[str, Query(min_length=1)],
    also: Annotated[list[str], Query(max_length=5, description="More studies.")] = [],  # noqa: B006
) -> dict[str, Any]:
    """The fronts of several studies in one picture, as values for plotly.js."""
    both = {name: studies.snapshot(name) for name in (a, b, *also)}
    axes = [[axis.name for axis in one.results.front.axes] for one in both.values()]
    for name, other in zip(both, axes, strict=True):
        if other != axes[0]:
            raise Problem(
                "invalid",
                f"study {a!r} trades {' and '.join(axes[0])}, study {name!r} "
                f"{' and '.join(other)}: only fronts of the same objectives fit into one picture",
            )
    figures = {name: front_figure(one.results, one.points) for name, one in both.items()}
    return {"version": 0, "front": compare_plot(figures)}


def plan_answer(file: PlanFile, name: str) -> Response:
    """A plan file as a download; older studies may have names that a header cannot hold."""
    plain = f'filename="{name}"' if is_plain(name) else f"filename*=utf-8''{quote(name)}"
    headers = {"Content-Disposition": f"attachment; {plain}"}
    return Response(file.text, media_type="application/json", headers=headers)
