"""One driver at a time runs a study; one that has lost it writes nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from isoshare.search.drivers.heartbeat import heartbeat
from isoshare.search.drivers.inline import run_inline
from isoshare.storage import lease
from isoshare.storage.opening.database import LeaseLostError, StoreError
from isoshare.storage.store import Store
from isoshare.storage.tables import LeaseRow
from tests.fakes import FakeEvaluator, MakeEngine, engine_for
from tests.test_store import STUDY, TRIAL, measurement

pytestmark = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def other(url: str) -> Iterator[Store]:
    """The store of another driver."""
    store = Store(url)
    yield store
    store.close()


@pytest.fixture
def held(store: Store) -> Store:
    store.create_study(STUDY)
    store.add_trial("s", TRIAL)
    store.take_lease("s")
    return store


def change(store: Store, **values: Any) -> None:
    """Change the lease, as time or another machine would have."""
    store._database.write(lambda session: session.execute(update(LeaseRow).values(**values)))


def heartbeat_of(store: Store) -> Any:
    return store._database.read(lambda session: session.get_one(LeaseRow, 1).heartbeat)


def silent(store: Store, seconds: float) -> None:
    """As if the holder had been silent for so long."""
    change(store, heartbeat=heartbeat_of(store) - timedelta(seconds=seconds))


def test_a_second_driver_is_refused_and_told_who_runs_the_study(held: Store, other: Store) -> None:
    says = r"study 's' is being run since .* by process \d+ on .*, last heard of \d+ s ago: wait"
    for use in (other.take_lease, other.check_idle, other.delete_study):
        with pytest.raises(StoreError, match=says):
            use("s")
    held.take_lease("s")  # its own holder may take it again
    held.add_measurements("s", 0, [measurement(0)], finished=True)
    assert other.trials("s")[0].state == "finished"  # readers are not kept out


def test_a_lease_is_free_when_it_is_released(held: Store, other: Store) -> None:
    held.release_lease("s")
    other.take_lease("s")
    with pytest.raises(StoreError, match="is being run"):
        held.take_lease("s")


def test_a_silent_driver_is_replaced_and_writes_nothing_any_more(held: Store, other: Store) -> None:
    silent(held, lease.EXPIRES.seconds - 5)
    with pytest.raises(StoreError, match="is being run"):
        other.take_lease("s")
    silent(held, 10)
    other.take_lease("s")
    held.renew_lease("s")  # too late: it changes nothing
    writes: list[Callable[[], None]] = [
        lambda: held.add_trial("s", replace(TRIAL, number=1)),
        lambda: held.add_measurements("s", 0, [measurement(0)], finished=True),
        lambda: held.fail_trial("s", 0, "nan"),
        lambda: held.stop_trial("s", 0),
        lambda: held.set_attempts("s", 0, 2),
        lambda: held.set_budget("s", 9),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError, match=r"'s' was taken over by process .* for 60 s"):
            write()
    assert (other.study("s"), other.trials("s")) == (STUDY, [TRIAL])
    other.set_attempts("s", 0, 2)


def test_a_driver_that_was_silent_but_not_replaced_goes_on(held: Store) -> None:
    silent(held, 3600)
    held.set_attempts("s", 0, 2)
    assert held.trials("s")[0].attempts == 2


def test_a_driver_that_has_died_on_this_machine_is_replaced_at_once(
    held: Store, other: Store
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    change(held, process=dead.pid, machine="another one")
    with pytest.raises(StoreError, match="is being run"):
        other.take_lease("s")  # its process number means nothing here
    change(held, machine=lease.this_machine())
    other.take_lease("s")


def test_the_heartbeat_renews_and_releases(held: Store, other: Store) -> None:
    silent(held, 20)
    before = heartbeat_of(other)
    with heartbeat(held, "s", seconds=0.05):
        deadline = time.monotonic() + 20
        while heartbeat_of(other) == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(StoreError, match="is being run"):
            other.take_lease("s")
    other.take_lease("s")


def test_a_driver_that_is_replaced_during_a_search_stops_and_nothing_counts_twice(
    make_engine: MakeEngine, store: Store, other: Store
) -> None:
    engine = make_engine()
    store.take_lease("study")
    for _ in range(3):
        job = engine.ask()
    assert job is not None
    silent(store, 60)
    other.take_lease("study")
    with pytest.raises(LeaseLostError):
        run_inline(engine, FakeEvaluator())
    study = other.study("study")
    successor = engine_for(other, study, engine._config, engine._space)
    run_inline(successor, FakeEvaluator())
    trials = other.trials("study")
    assert [trial.state for trial in trials] == ["finished"] * 12
    assert all(len(trial.samples("accuracy")) == 2 for trial in trials)


def test_a_clock_that_is_set_back_blocks_nobody(held: Store, other: Store) -> None:
    silent(held, -7200)  # it beat before the clock was set back by two hours
    with pytest.raises(StoreError, match="last heard of 0 s ago"):
        other.take_lease("s")  # its process is here, and lives
    change(held, machine="another one")
    other.take_lease("s")
