"""Ctrl-C during a search: a request to end, which is heard between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Interruption:
    """Whether SIGINT has come; the second one ends whatever is being done at once."""

    def __init__(self) -> None:
        self._asked = False

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

    Only in the main thread.
    """
    one = Interruption()
    before = signal.signal(signal.SIGINT, one)
    try:
        with suppress(KeyboardInterrupt):
            yield one
    finally:
        signal.signal(signal.SIGINT, before)
