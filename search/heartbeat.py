"""Keeps the lease of a running study alive, beside the driver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.database import StoreError
from storage.lease import BEAT_SECONDS
from storage.store import Store


@contextmanager
def heartbeat(store: Store, study: str, seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Renew the lease that ``store`` holds on a study as long as the context lasts; then release.

    A renewal that fails is left out: the next write of the driver tells what is wrong.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds):
            with suppress(StoreError):
                store.renew_lease(study)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(StoreError):
            store.release_lease(study)
