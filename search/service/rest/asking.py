"""What routes of the REST API and of pages have in common: who asks, for what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from isoshare.search.service.access.security import launcher, reader
from isoshare.search.service.errors import documented
from isoshare.search.service.events import StreamRoom
from isoshare.search.service.settings import Caller
from isoshare.search.service.studies.known_studies import Studies
from isoshare.search.service.studies.snapshot import Snapshot

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


Who = Annotated[Caller, Depends(launcher)]
All = Annotated[Studies, Depends(the_studies)]
One = Annotated[Snapshot, Depends(the_snapshot)]


async def a_stream(request: Request) -> AsyncIterator[None]:
    """Room for one stream of events, as long as it lasts. Raises Problem."""
    room: StreamRoom = request.app.state.streams
    address = request.client.host if request.client else ""
    with room.taken(address):
        yield


Stream = Annotated[None, Depends(a_stream)]
