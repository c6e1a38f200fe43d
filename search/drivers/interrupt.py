"""Ctrl-C: a request to end, which is heard between two steps of a search, and never lost before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_heard: list[int] = []


def listen() -> None:
    """Remember Ctrl-C from now on, also where whatever it interrupts swallows its exception, as
    imports and destructors may. Only in the main thread.
    """

    def hear(signum: int, _: object) -> None:
        _heard.append(signum)
        raise KeyboardInterrupt

    _heard.clear()
    signal.signal(signal.SIGINT, hear)


def check_heard() -> None:
    """Raise KeyboardInterrupt if Ctrl-C has come since ``listen``."""
    if _heard:
        raise KeyboardInterrupt


def hears_signals() -> bool:
    """Whether this is the main thread: no other one may say what a signal does."""
    return threading.current_thread() is threading.main_thread()


class Interruption:
    """Whether SIGINT has come; the second one ends whatever is being done at once."""

    def __init__(self) -> None:
        self._asked = bool(_heard)

    def __call__(self, *_: object) -> None:
        """The handler of the signal."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if SIGINT has come."""
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Takes SIGINT for as long as the context lasts, which an interruption ends without an error.

    In another thread than the main one it goes where it went before.
    """
    one = Interruption()
    if not hears_signals():
        yield one
        return
    before = signal.signal(signal.SIGINT, one)
    try:
        with suppress(KeyboardInterrupt):
            yield one
    finally:
        signal.signal(signal.SIGINT, before)
