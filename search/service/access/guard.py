"""What is refused before anything else, and the headers of every answer.

Without tokens the service listens on loopback only. There it answers only requests that name it by
a loopback address, so that no web page can reach it under a name of its own (DNS rebinding), and
changes nothing for a page of another origin.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from cachetools import TTLCache
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isoshare.search.results.pictures.plan_svg import STYLE
from isoshare.search.service.access.addresses import under
from isoshare.search.service.errors import Problem
from isoshare.search.service.settings import LOOPBACK, Settings

READS_ONLY = ("GET", "HEAD", "OPTIONS")
LOGINS_A_MINUTE = 10
YEAR = 365 * 24 * 3600


def _hashed(style: str) -> str:
    """How the policy names a style that stands in a page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"'sha256-{digest}'"


# Scripts are only those of this server. plotly.js adds two styles to a page: an empty one, which it
# fills by script, and one for maps, known by its hash; it also sets style attributes. The picture
# of a plan brings its own.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' "
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    f"'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o=' {_hashed(STYLE)}; "
    "style-src-attr 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with "no-referrer" forms would not name their origin
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class RateLimiter:
    """At most ``rate`` requests a second on average from each address, ``burst`` at once.

    An address that was silent until it has its whole burst again is forgotten; beyond ``most``
    addresses, so is the one that was silent for longest.
    """

    def __init__(self, rate: float, burst: float, most: int = 10_000) -> None:
        self._rate, self._burst = rate, burst
        self._left: TTLCache[str, tuple[float, float]] = TTLCache(most, ttl=burst / rate)

    def wait(self, address: str) -> float:
        """Take one; returns 0, or the seconds after which there is one again."""
        now = time.monotonic()
        left, at = self._left.get(address, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._left[address] = (max(left - 1, 0.0) if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) / self._rate


class Guard:
    """The outermost layer: what it refuses reaches no route. It adds the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._bucket = RateLimiter(settings.rate, 3 * settings.rate)
        self._logins = RateLimiter(LOGINS_A_MINUTE / 60, LOGINS_A_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers(scope, message)]
            await send(message)

        try:
            self._check(scope)
        except Problem as problem:
            answer = problem.answer.model_dump()
            refused = JSONResponse(answer, problem.status, headers=problem.headers)
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, _in_time(receive, self._settings.body_seconds), with_headers)

    def _headers(self, scope: Scope, message: Message) -> list[tuple[bytes, bytes]]:
        """Those of every answer; pages behind a login stay in no cache."""
        named = dict(HEADERS)
        if scope["scheme"] == "https":
            named["strict-transport-security"] = f"max-age={YEAR}"
        told = {name.lower() for name, _ in message["headers"]}
        if self._settings.tokens.digests and b"cache-control" not in told:
            named["cache-control"] = "no-store"
        return [(name.encode(), value.encode()) for name, value in named.items()]

    def _check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        self._check_host(headers)
        most = self._settings.body_bytes  # an inner layer counts where no length is announced
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > most:
            raise Problem("too_large", f"a request may have {most:,} bytes, this one has {length}")
        address = scope["client"][0] if scope.get("client") else ""
        wait = self._bucket.wait(address)
        if scope["method"] not in READS_ONLY:
            _check_origin(headers)
            if under(scope) == "/login":
                wait = max(wait, self._logins.wait(address))
        if wait:
            raise Problem(
                "too_many_requests",
                f"too many requests from {address}: try again in {wait:.1f} s",
                headers={"Retry-After": str(int(wait) + 1)},
            )

    def _check_host(self, headers: Mapping[str, str]) -> None:
        allowed = (*LOOPBACK, *self._settings.hosts)
        if not self._settings.is_local and not self._settings.hosts:
            return  # any name: whoever asks has to show a token
        host = _hostname(f"//{headers.get('host', '')}")
        if host not in allowed:
            raise Problem(
                "wrong_request",
                f"this server is not known as {host!r}: use {allowed[0]}, or start it with "
                "--public-host and --token-file",
            )


def _in_time(receive: Receive, seconds: float) -> Receive:
    """``receive``, which takes a body that is not there in time for a client that has gone."""
    deadline: float | None = time.monotonic() + seconds

    async def received() -> Message:
        nonlocal deadline
        try:
            left = None if deadline is None else deadline - time.monotonic()
            message = await asyncio.wait_for(receive(), left)
        except TimeoutError:
            return {"type": "http.disconnect"}
        if not message.get("more_body", False):
            deadline = None  # the request is whole; what comes next is its end
        return message

    return received


def _check_origin(headers: Mapping[str, str]) -> None:
    """Browsers say which page sends a request; programs do not."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    same = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not same or site not in ("same-origin", "none"):
        raise Problem("not_allowed", "a page of another origin may not change anything here")


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
