"""Pages that are open to everybody, and plotly.js from its package."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from isoshare.search.service.access.security import COOKIE, SESSION_SECONDS, Sessions, reader
from isoshare.search.service.errors import Problem
from isoshare.search.service.pages.rendering import form_values, render, see
from isoshare.search.service.settings import Tokens

router = APIRouter(include_in_schema=False)
FOREVER = "public, max-age=31536000, immutable"
"""For what is asked for under the version of its package."""


@router.get("/login")
def login_form(request: Request, next: str = "/") -> Response:
    """Ask for a token."""
    return render(request, "login.html", next=_local(next))


@router.post("/login")
def login(
    request: Request, values: Annotated[dict[str, list[str]], Depends(form_values)]
) -> Response:
    """Take a token and hand out a session."""
    place = _local(values.get("next", ["/"])[0])
    tokens: Tokens = request.app.state.settings.tokens
    caller = tokens.caller(values.get("token", [""])[0].strip())
    if caller is None:
        return render(request, "login.html", 401, next=place, wrong=True)
    sessions: Sessions = request.app.state.sessions
    answer = see(request, place)
    answer.set_cookie(
        COOKIE,
        sessions.begin(caller),
        max_age=SESSION_SECONDS,
        path=request.scope.get("root_path") or "/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def logout(request: Request) -> Response:
    """Forget the session."""
    request.app.state.sessions.end(request.cookies.get(COOKIE, ""))
    answer = see(request, "/login")
    answer.delete_cookie(COOKIE, path=request.scope.get("root_path") or "/")
    return answer


@router.get("/api", dependencies=[Depends(reader)])
def describe_api(request: Request) -> Response:
    """The REST API as a page, made of its OpenAPI description."""
    return render(request, "api.html", routes=_routes(request.app.openapi()))


@router.get("/plotly.js")
def plotly(request: Request) -> Response:
    """plotly.js as the plotly package brings it, packed where the browser takes it."""
    headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(_plotly(packed), media_type="text/javascript", headers=headers)


@lru_cache
def _plotly(packed: bool) -> bytes:
    found = find_spec("plotly")
    if found is None or found.origin is None:
        raise Problem("not_found", "the plotly package is not installed")
    code = (Path(found.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return gzip.compress(code, 6) if packed else code


def _local(place: str) -> str:
    """An address of this server: logins must not lead elsewhere."""
    return place if place.startswith("/") and place[1:2] not in ("/", "\\") else "/"


def _routes(description: dict[str, Any]) -> list[dict[str, Any]]:
    """One row an operation: method, path, summary, roles, parameters."""
    return [
        {
            "method": method.upper(),
            "path": path,
            "tag": operation["tags"][0],
            "text": operation.get("description", operation.get("summary", "")),
            "parameters": operation.get("parameters", []),
            "body": "requestBody" in operation,
        }
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
