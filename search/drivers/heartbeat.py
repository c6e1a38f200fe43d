"""Keeps the lease of a running study alive beside the driver, tells when the database is away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from isoshare.storage.lease import BEAT_SECONDS
from isoshare.storage.opening.database import StoreError
from isoshare.storage.store import Store
from isoshare.storage.transactions import PATIENCE

WORTH_SAYING = 3.0
"""Seconds of waiting for the database after which a user is told of it."""


@contextmanager
def heartbeat(store: Store, study: str, seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Renew the lease that ``store`` holds on a study as long as the context lasts; then release.

    A renewal that fails is left out: the next write of the driver tells what is wrong.
    """

    def beat() -> None:
        with suppress(StoreError):
            store.renew_lease(study)

    try:
        with _again_and_again(beat, seconds):
            yield
    finally:
        with suppress(StoreError):
            store.release_lease(study)


@contextmanager
def waits_told(
    store: Store, tell: Callable[[str], None], after: float = WORTH_SAYING
) -> Iterator[None]:
    """Tell once for each time that the database keeps this process waiting."""
    told = False

    def look() -> None:
        nonlocal told
        waits = store.waited > after
        if waits and not told:
            tell(
                "the database does not answer: waiting for it; nothing is lost, and after "
                f"{PATIENCE:.0f} s without it the search ends and can be resumed"
            )
        told = waits

    with _again_and_again(look, after / 6):
        yield


@contextmanager
def _again_and_again(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call ``work`` beside the context, every so many seconds."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            work()

    thread = threading.Thread(target=run, name=work.__qualname__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
