"""Every request as it is seen from outside: measured, written to the access log, HEAD as well."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isoshare.search.service.access.addresses import place
from isoshare.search.service.access.metrics import Metrics

AccessLog = Literal["off", "text", "json"]
ENDED_BY_CLIENT = 499
"""What is noted as the status of a request that got no answer."""


class Traffic:
    """The outermost layer. kind: of the access log, which goes to stderr unless ``write`` takes it.

    root: the path under which a proxy serves all this, without a slash at its end.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        kind: AccessLog,
        root: str,
        write: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
    ) -> None:
        self._app, self._metrics, self._write, self._root = app, metrics, write, root
        self._line = LINES[kind]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root:
            place(scope, self._root)
        started, status = time.perf_counter(), ENDED_BY_CLIENT

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            if inner is scope:
                await self._app(scope, receive, noted)
            else:
                await _head_only(self._app, inner, receive, noted)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.note(scope["method"], _route(inner), status, seconds)
            if self._line is not None:
                self._write(self._line(inner, scope["method"], status, seconds))


class _EnoughError(OSError):
    """The head of an answer has been sent, and nobody wants its body."""


async def _head_only(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to GET without its body, which need not come to an end."""
    sent = False

    async def head(message: Message) -> None:
        nonlocal sent
        if sent:
            raise _EnoughError
        await send(message)
        if message["type"] == "http.response.start":
            await send({"type": "http.response.body", "body": b""})
            sent = True

    try:
        await app(scope, receive, head)
    except Exception:  # however the app wraps what ends it
        if not sent:
            raise


def _route(scope: Scope) -> str:
    """The pattern of the address, so that there are few of them."""
    return getattr(scope.get("route"), "path", "other")


def _facts(scope: Scope, method: str, status: int, seconds: float) -> dict[str, Any]:
    caller = scope.get("state", {}).get("caller")
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": scope["client"][0] if scope.get("client") else "",
        "who": caller.name if caller else "",
        "method": method,
        "path": scope["path"],
        "status": status,
        "ms": round(1000 * seconds, 1),
    }


def _json_line(*request: Any) -> str:
    return json.dumps(_facts(*request))


def _text_line(*request: Any) -> str:
    facts = _facts(*request)
    path = facts["path"].encode("unicode_escape").decode()  # a line stays a line
    who = facts["who"] or "-"
    said = f"{facts['time']} {facts['client']} {who} {facts['method']} {path}"
    return f"{said} {facts['status']} {facts['ms']} ms"


LINES: dict[AccessLog, Callable[..., str] | None] = {
    "off": None,
    "text": _text_line,
    "json": _json_line,
}
