"""A database server that is away for a while, or that stops to answer: a search waits for it.

ISOSHARE_AWAY_SECONDS sets for how long: two seconds by default, 30 by ``make chaos``.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, inspect

from isoshare.search.drivers.heartbeat import heartbeat, waits_told
from isoshare.search.drivers.inline import run_inline
from isoshare.storage import schema
from isoshare.storage.opening.database import StoreError
from isoshare.storage.store import Store
from isoshare.storage.transactions import Database
from tests.fakes import FakeEvaluator, MakeEngine
from tests.postgresql import Server
from tests.test_survival import Interrupting

AWAY = float(os.environ.get("ISOSHARE_AWAY_SECONDS", "2"))
Act = Callable[[Server], None]
OUTAGES: dict[str, tuple[Act, Act]] = {
    "killed": (Server.kill, Server.start),
    "stopped": (Server.pause, Server.go_on),
}


class Rival:
    """Another driver, which tries to take the study over all the time."""

    def __init__(self, url: str) -> None:
        self._store = Store(url, patience=0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.refused: Counter[str] = Counter()
        self.has_it = False
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            try:
                self._store.take_lease("study")
                self.has_it = True
            except StoreError as error:
                self.refused["is being run" if "is being run" in str(error) else "away"] += 1

    def end(self) -> None:
        """Give up."""
        self._ended.set()
        self._thread.join()
        self._store.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("outage", OUTAGES)
def test_a_search_waits_for_its_server_says_so_and_loses_nothing(
    outage: str, make_engine: MakeEngine, store: Store, url: str, postgresql: Server
) -> None:
    leave, come_back = OUTAGES[outage]
    told: list[str] = []
    times: list[float] = []

    def away() -> None:
        rivals.append(Rival(url))
        leave(postgresql)
        times.append(time.monotonic())
        threading.Timer(AWAY, come_back, [postgresql]).start()

    rivals: list[Rival] = []
    engine = make_engine(trials=20)
    store.take_lease("study")
    measure = Interrupting(15, away, FakeEvaluator())
    with heartbeat(store, "study"), waits_told(store, told.append, after=AWAY / 3):
        run_inline(engine, measure)
        times.append(time.monotonic())
        time.sleep(0.5)  # the rival sees the server again
        rivals[0].end()
    assert engine.done
    assert not rivals[0].has_it
    assert rivals[0].refused["is being run"] > 0
    assert told  # more than once on a machine that is slow itself
    assert told[0].startswith("the database does not answer: waiting for it; nothing is lost")
    trials = store.trials("study")
    assert [trial.state for trial in trials] == ["finished"] * 20
    assert all(len(trial.samples("accuracy")) == 2 for trial in trials)
    assert max(Counter(measure.inner.measured).values()) == 1
    print(f"{outage}: away for {AWAY:g} s, all done {times[1] - times[0]:.1f} s after it left")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_tables_that_appear_while_somebody_looks_are_not_taken_for_old_ones(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, waiting = inspect, [lambda: Database(url).create()]

    class Interrupted:
        """After its first answer somebody else makes the tables."""

        def __init__(self, connection: Connection) -> None:
            self._inspector = real(connection)

        def has_table(self, name: str) -> bool:
            found: bool = self._inspector.has_table(name)
            while waiting:
                with monkeypatch.context() as patch:
                    patch.setattr(schema, "inspect", real)
                    waiting.pop()()
            return found

    monkeypatch.setattr(schema, "inspect", Interrupted)
    looking = Store(url)
    assert looking.studies() == []
    assert not waiting
    looking.close()
