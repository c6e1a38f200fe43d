"""The service as an ASGI application: routes, errors, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from isoshare.search.service.access.guard import HEADERS, Guard
from isoshare.search.service.access.metrics import Metrics
from isoshare.search.service.access.security import Sessions
from isoshare.search.service.access.traffic import Traffic
from isoshare.search.service.errors import CODES, Detail, Problem, code_of
from isoshare.search.service.events import Hub, State, StreamRoom
from isoshare.search.service.pages import login, routes, study_pages
from isoshare.search.service.pages.rendering import problem_page
from isoshare.search.service.rest import asking
from isoshare.search.service.rest import results as api_results
from isoshare.search.service.rest import service as api_service
from isoshare.search.service.rest import studies as api
from isoshare.search.service.runs import inspect_process
from isoshare.search.service.settings import Settings
from isoshare.search.service.studies.known_studies import Studies
from isoshare.space.errors import IsoshareError
from isoshare.storage.opening.database import StoreError

API = (api, api_results, api_service)
"""Their routes are those of the routers in ``asking``."""
PAGES = (api_service.metrics_router, login.router, routes.router, study_pages.router)
HERE = Path(__file__).parent
ABOUT = (
    "Launches neural architecture searches over weight-sharing patterns, shows their Pareto fronts "
    "while they run, and hands out plans. Errors have one shape: `{error: {code, message, "
    "details}}`."
)


def make_app(settings: Settings) -> FastAPI:
    """The service. Raises StoreError if the database cannot be used."""
    studies = Studies(settings)
    studies.names()
    app = FastAPI(
        title="Isoshare",
        description=ABOUT,
        version=version("isoshare"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings, app.state.studies = settings, studies
    app.state.sessions = Sessions()
    app.state.streams = StreamRoom(settings.streams, settings.streams_per_client)
    app.state.hub = Hub(lambda topic: _look(studies, topic))
    for router in (asking.public, asking.reads, asking.launches, *PAGES):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "pages" / "static"), name="static")
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.body_bytes)
    app.add_middleware(Guard, settings=settings)
    app.state.metrics = Metrics(studies, lambda: app.state.streams.count)
    app.add_middleware(  # the last one is the outermost
        Traffic,
        metrics=app.state.metrics,
        kind=settings.access_log,
        root=settings.root_path,
    )
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    poller = asyncio.create_task(app.state.hub.poll())
    yield
    poller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await poller
    inspect_process.give_up()
    app.state.studies.close()


def _look(studies: Studies, topic: str) -> State:
    """What is told of a study, or of all, when it changes."""
    try:
        if topic == "*":
            return (topic, "changed", studies.changes())
        study = studies.detail(topic)
    except (Problem, StoreError):
        return (topic, "gone", 0)
    return (topic, f"{study.state}{' stopping' * study.stopping}", study.version)


async def _problem(request: Request, error: Any) -> Response:
    return _answer(request, error)


async def _wrong(request: Request, error: Any) -> Response:
    return _answer(request, Problem(code_of(error), str(error)))


async def _invalid(request: Request, error: Any) -> Response:
    details = [
        Detail(field=".".join(map(str, row["loc"][1:])), message=row["msg"])
        for row in error.errors()
    ]
    first = details[0]
    message = f"{first.field or 'the request'}: {first.message[0].lower()}{first.message[1:]}"
    return _answer(request, Problem("invalid", message, details))


async def _http(request: Request, error: Any) -> Response:
    code = CODES.get(error.status_code, "wrong_request")
    said = {
        "not_found": f"there is nothing at {request.url.path}: /api lists what there is",
        "method_not_allowed": f"{request.method} is not for {request.url.path}: /api lists how",
        "too_large": f"a request may have {request.app.state.settings.body_bytes:,} bytes",
    }
    return _answer(request, Problem(code, said.get(code, str(error.detail)), None, error.headers))


async def _internal(request: Request, error: Any) -> Response:
    problem = Problem("internal_error", "something went wrong: see the server's log")
    answer = _answer(request, problem)
    answer.headers.update(HEADERS)  # this error is answered outside of the guard
    return answer


def _answer(request: Request, problem: Problem) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse(problem.answer.model_dump(), problem.status, headers=problem.headers)
    return problem_page(request, problem)


HANDLERS: dict[Any, Any] = {
    Problem: _problem,
    IsoshareError: _wrong,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _internal,
}
