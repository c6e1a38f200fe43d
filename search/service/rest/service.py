"""The REST API about the service itself: health, events, audit, what may be searched."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from isoshare.search.service import bodies, models
from isoshare.search.service.access.metrics import KIND, Metrics
from isoshare.search.service.access.security import reader
from isoshare.search.service.events import Hub
from isoshare.search.service.rest.asking import (
    MISSING,
    All,
    Limit,
    Name,
    Offset,
    Stream,
    launches,
    public,
    reads,
)
from isoshare.search.service.runs import inspect_process as heavy
from isoshare.search.service.runs.launching import check_allowed, check_arguments_bound
from isoshare.search.service.settings import Settings

metrics_router = APIRouter(include_in_schema=False, dependencies=[Depends(reader)])


@public.get("/health")
def health(studies: All) -> models.Health:
    """Whether the service answers and reaches its database now; needs no token."""
    studies.check()
    return models.Health()


@metrics_router.get("/metrics")
def metrics(request: Request) -> Response:
    """What Prometheus collects."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=KIND)


@reads.get("/allowed")
def allowed(request: Request) -> models.Allowed:
    """Which backbones and data sets this server lets clients search."""
    settings: Settings = request.app.state.settings
    return models.Allowed(
        backbones=list(settings.backbones),
        datasets=list(settings.datasets),
        searches=settings.searches,
    )


@reads.get("/audit")
def get_audit(studies: All, offset: Offset = 0, limit: Limit = 50) -> models.AuditPage:
    """Who launched, stopped, resumed, changed and deleted what, the newest first."""
    deeds = studies.audit.deeds()
    items = deeds[offset : offset + limit]
    return models.AuditPage(items=items, total=len(deeds), offset=offset, limit=limit)


@launches.post("/inspect")
def inspect(asked: bodies.InspectRequest, request: Request) -> models.BackboneView:
    """What can be shared in a backbone of the server's list; it takes some seconds."""
    settings: Settings = request.app.state.settings
    if asked.backbone not in settings.backbones:
        check_allowed(settings, asked.backbone, settings.datasets[0])
    check_arguments_bound(settings, asked.arguments.values())
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
