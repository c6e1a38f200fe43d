"""Who may ask for what: tokens, and the login of pages."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from isoshare.search.service.errors import Problem
from isoshare.search.service.settings import Caller, Tokens

COOKIE = "isoshare"
SESSION_SECONDS = 12 * 3600


class Sessions:
    """Logins of pages, in memory: a restart logs everybody out."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Caller, float]] = {}

    def begin(self, caller: Caller) -> str:
        """A new session's secret name."""
        now = time.monotonic()
        self._open = {key: row for key, row in self._open.items() if row[1] > now}
        key = secrets.token_urlsafe(32)
        self._open[key] = (caller, now + SESSION_SECONDS)
        return key

    def caller(self, key: str) -> Caller | None:
        """Who has a session; None if there is none of this name."""
        caller, until = self._open.get(key, (None, 0.0))
        return caller if until > time.monotonic() else None

    def end(self, key: str) -> None:
        """Log out."""
        self._open.pop(key, None)


def caller_of(
    request: Request, bearer: HTTPAuthorizationCredentials | None = None
) -> Caller | None:
    """Who sends a request, and may do: all without tokens, else what token or login says; on a
    service that only shows, to read.
    """
    caller = _known_caller(request, bearer)
    shows = request.app.state.settings.read_only
    return replace(caller, role="read") if caller and shows else caller


def _known_caller(request: Request, bearer: HTTPAuthorizationCredentials | None) -> Caller | None:
    tokens: Tokens = request.app.state.settings.tokens
    if not tokens.digests:
        return Caller("launch")
    if bearer is not None:
        return tokens.caller(bearer.credentials)
    sessions: Sessions = request.app.state.sessions
    return sessions.caller(request.cookies.get(COOKIE, ""))


SCHEME = HTTPBearer(auto_error=False, description="A token of the server's --token-file.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(SCHEME)]


def reader(request: Request, bearer: Credentials = None) -> Caller:
    """Let in who may read. Raises Problem."""
    caller = caller_of(request, bearer)
    if caller is None:
        raise Problem(
            "not_logged_in",
            "this server wants a token: send 'Authorization: Bearer TOKEN', or log in at /login",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.state.caller = caller
    return caller


def launcher(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Caller:
    """Let in who may change something. Raises Problem."""
    if request.app.state.settings.read_only:
        raise Problem("not_allowed", "this server only shows studies: it was started --read-only")
    if caller.role != "launch":
        raise Problem("not_allowed", "this token may only read: take one of role 'launch'")
    return caller
