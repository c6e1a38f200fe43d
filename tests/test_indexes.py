"""The queries that are asked again and again use an index: SQLite's own plan says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from isoshare.storage.change_feed import Cursor, WatchedStore
from isoshare.storage.store import Store
from tests.test_store import STUDY, TRIAL, measurement

Use = Callable[[WatchedStore], object]
HOT: dict[str, Use] = {
    "list of studies": lambda store: store.studies(),
    "a study": lambda store: store.study("s"),
    "outcomes": lambda store: store.outcomes("s", ["accuracy", "parameters"]),
    "all trials": lambda store: store.trials("s"),
    "some trials": lambda store: store.trials("s", [0]),
    "a new trial": lambda store: store.add_trial("s", TRIAL),
    "measurements": lambda store: store.add_measurements("s", 0, [measurement(7)], finished=True),
    "attempts": lambda store: store.set_attempts("s", 0, 2),
    "a heartbeat": lambda store: store.renew_lease("s"),
    "a lease": lambda store: store.take_lease("s"),
    "what is new": lambda store: store.changes("s", store.changes("s", Cursor()).seen),
    "deleting": lambda store: store.delete_study("s"),
}


LARGE = ("SCAN trial", "SCAN measurement", "SCAN lease")
"""Studies are few, and a list of them reads them all."""


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """What is executed within the context."""
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        seen.append((statement, parameters))

    engine = store._database.engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def scans(store: Store, statement: str, parameters: Any) -> list[str]:
    """The steps of SQLite's plan that read a whole table of trials, measurements or leases."""
    with store._database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps = [str(row[-1]) for row in plan]
    return [step for step in steps if step.startswith(LARGE) and "USING" not in step]


@pytest.fixture
def watched(url: str) -> Iterator[WatchedStore]:
    store = WatchedStore(url)
    store.create_study(STUDY)
    store.add_trial("s", TRIAL)
    store.add_measurements("s", 0, [measurement(0)], finished=False)
    yield store
    store.close()


@pytest.mark.parametrize("name", HOT)
def test_no_hot_query_reads_a_whole_table(watched: WatchedStore, name: str) -> None:
    with statements(watched) as seen:
        HOT[name](watched)
    kinds = ("SELECT", "UPDATE", "DELETE")
    asked = [one for one in seen if one[0].startswith(kinds)]
    assert asked
    for statement, parameters in asked:
        assert scans(watched, statement, parameters) == [], statement


def test_the_check_can_fail(watched: WatchedStore) -> None:
    assert scans(watched, "SELECT * FROM trial WHERE origin = 'sampler'", ()) == ["SCAN trial"]
