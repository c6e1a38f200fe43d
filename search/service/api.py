"""The REST API about studies: list, launch, stop, resume, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from isoshare.search.service import models
from isoshare.search.service.asking import (
    MISSING,
    All,
    Limit,
    Name,
    Offset,
    Who,
    launches,
    reads,
)
from isoshare.search.service.launching import LaunchOptions, ResumeOptions


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
    who: Who,
    request: Request,
    response: Response,
) -> models.StudyDetail:
    """Start a search in a process of its own, which goes on when this service ends."""
    given = options.model_dump(exclude_none=True)  # type: ignore[attr-defined]
    launched = studies.launch(given, who.name)
    response.headers["Location"] = f"{request.scope['root_path']}/api/v1/studies/{launched.name}"
    return launched


@reads.get("/studies/{name}", responses=MISSING)
def get_study(name: Name, studies: All) -> models.StudyDetail:
    """A study: its state, its conditions and where it stands."""
    return studies.detail(name)


@launches.delete("/studies/{name}", status_code=204, responses=MISSING)
def delete_study(name: Name, studies: All, who: Who) -> None:
    """Remove a study and all it has measured. It cannot be undone."""
    studies.delete(name, who.name)


@launches.post("/studies/{name}/stop", status_code=202, responses=MISSING)
def stop(name: Name, studies: All, who: Who) -> models.StudyDetail:
    """Interrupt a search as Ctrl-C does; nothing that has finished is lost."""
    return studies.stop(name, who.name)


@launches.post("/studies/{name}/resume", status_code=202, responses=MISSING)
def resume(
    name: Name,
    studies: All,
    who: Who,
    options: ResumeOptions | None = None,  # type: ignore[valid-type]
) -> models.StudyDetail:
    """Let an interrupted search go on, or give a finished one a larger budget. One that was stopped
    before anything was stored begins again.
    """
    changes = options.model_dump(exclude_none=True) if options else {}  # type: ignore[attr-defined]
    return studies.resume(name, changes, who.name)


@reads.get("/studies/{name}/log", responses=MISSING)
def get_log(
    name: Name,
    studies: All,
    lines: Annotated[int, Query(ge=1, le=1000, description="So many at most.")] = 100,
) -> models.StudyLog:
    """The last lines that the driver of a study printed: why it ended."""
    return studies.log(name, lines)
