"""The REST API about studies: list, launch, stop, resume, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from isoshare.search.service import bodies, models
from isoshare.search.service.rest.asking import (
    MISSING,
    All,
    Limit,
    Name,
    Number,
    Offset,
    Who,
    launches,
    reads,
)
from isoshare.search.service.runs.launching import LaunchOptions, ResumeOptions
from isoshare.search.service.runs.previews import Preview
from isoshare.search.service.studies import trials
from isoshare.search.service.studies.study_query import KEYS, StudyQuery, found


@reads.get("/studies")
def list_studies(
    studies: All,
    offset: Offset = 0,
    limit: Limit = 50,
    search: Annotated[str, Query(max_length=200, description="Words that all must occur.")] = "",
    state: models.State | None = None,
    tag: Annotated[str, Query(max_length=40)] = "",
    sort: Annotated[str, Query(description=f"{', '.join(KEYS)}; -: down.")] = "-created",
) -> models.StudyPage:
    """The studies, the newest first unless they are sorted otherwise."""
    items, total = found(studies, StudyQuery(search, state, tag, sort), offset, limit)
    views = [models.StudyView.model_validate(one, from_attributes=True) for one in items]
    return models.StudyPage(items=views, total=total, offset=offset, limit=limit)


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


@launches.post("/preview")
def preview(options: LaunchOptions, studies: All) -> Preview:  # type: ignore[valid-type]
    """What such a search would do, and about how long it would take; nothing is started. It takes
    some seconds.
    """
    return studies.preview(options.model_dump(exclude_none=True))  # type: ignore[attr-defined]


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


@launches.put("/studies/{name}/note", responses=MISSING)
def put_note(name: Name, asked: bodies.NoteRequest, studies: All, who: Who) -> models.StudyDetail:
    """Write a note and tags on a study, in the place of those that are there."""
    studies.note(name, None, asked, who.name)
    return studies.detail(name)


@launches.put("/studies/{name}/trials/{number}/note", responses=MISSING)
def put_trial_note(
    name: Name, number: Number, asked: bodies.NoteRequest, studies: All, who: Who
) -> models.TrialDetail:
    """Write a note and tags on a trial, in the place of those that are there."""
    studies.note(name, number, asked, who.name)
    snapshot = studies.snapshot(name)
    return trials.detail(snapshot, trials.find(snapshot, number))


@launches.post("/studies/{name}/rename", responses=MISSING)
def rename(name: Name, asked: bodies.RenameRequest, studies: All, who: Who) -> models.StudyDetail:
    """Give a study another name; it must not be running."""
    return studies.rename(name, asked.name, who.name)


@reads.get("/studies/{name}/log", responses=MISSING)
def get_log(
    name: Name,
    studies: All,
    lines: Annotated[int, Query(ge=1, le=1000, description="So many at most.")] = 100,
) -> models.StudyLog:
    """The last lines that the driver of a study printed: why it ended."""
    return studies.log(name, lines)
