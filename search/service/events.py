"""Tells pages that something has changed. One poller looks for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator

from starlette.concurrency import run_in_threadpool

from isoshare.search.service.errors import Problem

POLL_SECONDS = 0.4
ALIVE_SECONDS = 15.0
"""After so long without a change an empty one is sent, so that broken connections are noticed."""

State = Hashable


class StreamRoom:
    """Counts open streams: each holds a connection, and one client could take them all."""

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most, self._most_per_client = most, most_per_client
        self._open: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many are open."""
        return self._open.total()

    @contextlib.contextmanager
    def taken(self, address: str) -> Iterator[None]:
        """One of them. Raises Problem if there is no room."""
        if self.count >= self._most or self._open[address] >= self._most_per_client:
            raise Problem(
                "too_many_requests",
                f"{self._open[address]} event streams of {address} and {self.count} in all are "
                f"open, and this server holds {self._most_per_client} per address and "
                f"{self._most} in all: close one first",
            )
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            self._open += Counter()  # forgets addresses without any


class Hub:
    """Shares one look at a study among all that watch it.

    look: the state of a topic; called in a thread, once a poll for each topic that is watched.
    """

    def __init__(self, look: Callable[[str], State]) -> None:
        self._look = look
        self._watched: Counter[str] = Counter()
        self._states: dict[str, State] = {}
        self._changed = asyncio.Event()
        self.closed = False

    def close(self) -> None:
        """End all watches, so that the server can stop."""
        self.closed = True
        self._wake()

    async def poll(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            started = time.monotonic()
            for topic in list(self._watched):
                state = await run_in_threadpool(self._look, topic)
                if topic in self._watched and state != self._states.get(topic):
                    self._states[topic] = state
                    self._wake()
            took = time.monotonic() - started
            await asyncio.sleep(max(POLL_SECONDS, took))  # never more than half of the time

    async def watch(self, topic: str) -> AsyncIterator[State]:
        """The state of a topic now and after every change; None when long nothing changed."""
        self._watched[topic] += 1
        try:
            last = await run_in_threadpool(self._look, topic)
            self._states.setdefault(topic, last)
            yield last
            while not self.closed:
                changed = self._changed
                state = self._states.get(topic)
                if state != last:
                    last = state
                    yield state
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), ALIVE_SECONDS)
                except TimeoutError:
                    yield None
        finally:
            self._leave(topic)

    def _leave(self, topic: str) -> None:
        self._watched[topic] -= 1
        if self._watched[topic] <= 0:
            with contextlib.suppress(KeyError):
                del self._watched[topic]
                del self._states[topic]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
