"""The REST API under /api/v1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from isoshare.search.results.choose import Best
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.plan_picture import plan_picture
from isoshare.search.results.pictures.plotly_figure import compare_plot
from isoshare.search.service import inspect_process as heavy
from isoshare.search.service import models, trials
from isoshare.search.service.errors import Problem, documented
from isoshare.search.service.events import Hub, StreamRoom
from isoshare.search.service.launching import LaunchOptions, ResumeOptions, check_allowed
from isoshare.search.service.security import launcher, reader
from isoshare.search.service.settings import Settings
from isoshare.search.service.studies import Studies
from isoshare.search.service.study_cache import Snapshot
from isoshare.search.study_names import is_plain
from isoshare.space.plan import PlanFile
from isoshare.storage.records import TrialState

ALWAYS = documented(
    "wrong_request", "not_logged_in", "too_many_requests", "database_unavailable", "invalid"
)
CHANGES = documented("not_allowed", "conflict", "too_large", "no_room")
Name = Annotated[str, Path(min_length=1, max_length=100, examples=["digits-resnet_cifar-1"])]
Number = Annotated[int, Path(ge=0, le=2**31, description="Counts the trials from 0.")]
Offset = Annotated[int, Query(ge=0, le=2**31, description="So many are skipped.")]
Limit = Annotated[int, Query(ge=1, le=500, description="So many at most.")]

OPEN = documented("too_many_requests", "database_unavailable")
public = APIRouter(prefix="/api/v1", tags=["service"], responses=OPEN)
reads = APIRouter(prefix="/api/v1", tags=["read"], dependencies=[Depends(reader)], responses=ALWAYS)
launches = APIRouter(
    prefix="/api/v1",
    tags=["launch"],
    dependencies=[Depends(launcher)],
    responses={**ALWAYS, **CHANGES},
)
MISSING = documented("not_found")


def the_studies(request: Request) -> Studies:
    """All studies of this service."""
    studies: Studies = request.app.state.studies
    return studies


def the_snapshot(name: Name, request: Request) -> Snapshot:
    """The study that a route names. Raises Problem."""
    return the_studies(request).snapshot(name)


All = Annotated[Studies, Depends(the_studies)]
One = Annotated[Snapshot, Depends(the_snapshot)]


async def a_stream(request: Request) -> AsyncIterator[None]:
    """Room for one stream of events, as long as it lasts. Raises Problem."""
    room: StreamRoom = request.app.state.streams
    address = request.client.host if request.client else ""
    with room.taken(address):
        yield


Stream = Annotated[None, Depends(a_stream)]


@public.get("/health")
def health(studies: All) -> models.Health:
    """Whether the service answers and reaches its database now; needs no token."""
    studies.check()
    return models.Health()


@reads.get("/allowed")
def allowed(request: Request) -> models.Allowed:
    """Which backbones and data sets this server lets clients search."""
    settings: Settings = request.app.state.settings
    return models.Allowed(
        backbones=list(settings.backbones),
        datasets=list(settings.datasets),
        searches=settings.searches,
    )


@reads.get("/studies")
def list_studies(studies: All, offset: Offset = 0, limit: Limit = 50) -> models.StudyPage:
    """The studies, the newest first."""
    names = studies.names()
    items = [studies.summary(name) for name in names[offset : offset + limit]]
    return models.StudyPage(items=items, total=len(names), offset=offset, limit=limit)


@launches.post("/studies", status_code=201)
def launch(
    options: LaunchOptions,  # type: ignore[valid-type]
    studies: All,
    response: Response,
) -> models.StudyDetail:
    """Start a search in a process of its own, which goes on when this service ends."""
    given = options.model_dump(exclude_none=True)  # type: ignore[attr-defined]
    launched = studies.launch(given)
    response.headers["Location"] = f"/api/v1/studies/{launched.name}"
    return launched


@reads.get("/studies/{name}", responses=MISSING)
def get_study(name: Name, studies: All) -> models.StudyDetail:
    """A study: its state, its conditions and where it stands."""
    return studies.detail(name)


@launches.delete("/studies/{name}", status_code=204, responses=MISSING)
def delete_study(name: Name, studies: All) -> None:
    """Remove a study and all it has measured. It cannot be undone."""
    studies.delete(name)


@launches.post("/studies/{name}/stop", status_code=202, responses=MISSING)
def stop(name: Name, studies: All) -> models.StudyDetail:
    """Interrupt a search as Ctrl-C does; nothing that has finished is lost."""
    return studies.stop(name)


@launches.post("/studies/{name}/resume", status_code=202, responses=MISSING)
def resume(
    name: Name,
    studies: All,
    options: ResumeOptions | None = None,  # type: ignore[valid-type]
) -> models.StudyDetail:
    """Let an interrupted search go on, or give a finished one a larger budget."""
    changes = options.model_dump(exclude_none=True) if options else {}  # type: ignore[attr-defined]
    return studies.resume(name, changes)


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
    plan, unshared = trials.find(study, number).plan, study.study.context.unshared
    banks = plan_picture(study.sites, plan, unshared).banks
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
def get_figure(study: One) -> Response:
    """The pictures of the page of a study as values for plotly.js; colours are names of roles."""
    return Response(study.figure, media_type="application/json")


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
    studies: All, a: Annotated[str, Query(min_length=1)], b: Annotated[str, Query(min_length=1)]
) -> dict[str, Any]:
    """The fronts of two studies in one picture, as values for plotly.js."""
    both = {name: studies.snapshot(name) for name in (a, b)}
    axes = [[axis.name for axis in one.results.front.axes] for one in both.values()]
    if axes[0] != axes[-1]:
        raise Problem(
            "invalid",
            f"study {a!r} trades {' and '.join(axes[0])}, study {b!r} {' and '.join(axes[-1])}: "
            "only fronts of the same objectives fit into one picture",
        )
    figures = {name: front_figure(one.results, one.points) for name, one in both.items()}
    return {"version": 0, "front": compare_plot(figures)}


@launches.post("/inspect")
def inspect(asked: models.InspectRequest, request: Request) -> models.BackboneView:
    """What can be shared in a backbone of the server's list; it takes some seconds."""
    settings: Settings = request.app.state.settings
    if asked.backbone not in settings.backbones:
        check_allowed(settings, asked.backbone, settings.datasets[0])
    return models.BackboneView.model_validate(heavy.inspect(asked.backbone, asked.arguments))


@reads.get("/events", response_class=EventSourceResponse)
async def all_events(request: Request, _: Stream) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: ``change`` whenever any study changed."""
    async for event in _events(request, "*"):
        yield event


@reads.get("/studies/{name}/events", response_class=EventSourceResponse, responses=MISSING)
async def study_events(name: Name, request: Request, _: Stream) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: ``change`` with version and state, whenever the study changed."""
    async for event in _events(request, name):
        yield event


async def _events(request: Request, topic: str) -> AsyncIterator[ServerSentEvent]:
    hub: Hub = request.app.state.hub
    async for state in hub.watch(topic):
        yield (
            ServerSentEvent(comment="still here")
            if state is None
            else ServerSentEvent(event="change", data=state)
        )


def plan_answer(file: PlanFile, name: str) -> Response:
    """A plan file as a download; older studies may have names that a header cannot hold."""
    plain = f'filename="{name}"' if is_plain(name) else f"filename*=utf-8''{quote(name)}"
    headers = {"Content-Disposition": f"attachment; {plain}"}
    return Response(file.text, media_type="application/json", headers=headers)
