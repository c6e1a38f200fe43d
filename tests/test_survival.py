"""What a search survives: lost connections and answers, a full disk, a killed server."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.search.drivers.inline import run_inline
from isoshare.space.plan import SharingPlan, Split
from isoshare.storage.opening.database import StoreError, WriteError
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine, engine_for
from tests.postgresql import Server
from tests.test_store import PLAN, STUDY, TRIAL, measurement

on_both_databases = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


class AnswersLost:
    """Every commit happens, and every other answer is lost on the way."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.create_study(replace(STUDY, name="other"))  # the database is known to be there
        engine = store._database.engine
        do_commit = engine.dialect.do_commit
        self.lost = 0
        self.commits = 0

        def commit(connection: Any) -> None:
            do_commit(connection)
            self.commits += 1
            if self.commits % 2:
                self.lost += 1
                reason: Any = engine.dialect.loaded_dbapi.OperationalError("connection lost")
                reason.sqlite_errorname = "SQLITE_BUSY"  # what passes in either database
                raise OperationalError("COMMIT", {}, reason)

        monkeypatch.setattr(engine.dialect, "do_commit", commit)


@on_both_databases
def test_a_write_whose_answer_was_lost_is_made_again_and_counts_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = AnswersLost(store, monkeypatch)
    store.create_study(STUDY)
    store.take_lease("s")
    store.add_trial("s", TRIAL)
    store.set_attempts("s", 0, 2)
    store.add_measurements("s", 0, [measurement(0), measurement(1)], finished=True)
    store.add_trial("s", TrialRecord(1, SharingPlan(), "sampler", "running", {}, {}))
    store.fail_trial("s", 1, "nan\0")
    store.set_budget("s", 9)
    writes = 8
    assert answers.lost >= writes
    first, second = store.trials("s")
    assert (first.state, first.attempts, first.samples("accuracy")) == ("finished", 2, [0.5, 0.5])
    assert (second.state, second.error) == ("failed", "nan")
    assert store.study("s").config.trials == 9


@on_both_databases
def test_a_study_is_restored_once_though_answers_are_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = AnswersLost(store, monkeypatch)
    assert store.restore_study(STUDY, lambda: [TRIAL]) == 1
    assert answers.lost > 0
    assert store.trials("s") == [TRIAL]


def limit_pages(store: Store, more: int | None) -> None:
    """A disk with room for so many more pages of 4096 bytes."""
    engine = store._database.engine
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, _: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        most = 2**30 if more is None else pages + more
        connection.execute(f"PRAGMA max_page_count={most}")


def test_a_full_disk_stops_the_search_with_a_sentence_and_it_can_go_on(
    make_engine: MakeEngine, store: Store, url: str
) -> None:
    engine = make_engine(trials=40, sites=8, sampler="random")
    limit_pages(store, 5)
    start = time.monotonic()
    with pytest.raises(
        WriteError, match=r"failed: database or disk is full; what it holds is whole"
    ):
        run_inline(engine, FakeEvaluator())
    assert time.monotonic() - start < 30  # it does not wait for room
    before = Store(url).trials("study")
    assert 0 < len(before) < 40
    assert all(len(t.samples("accuracy")) == 2 for t in before if t.state == "finished")
    limit_pages(store, None)
    measure = FakeEvaluator()
    run_inline(make_engine(trials=40, sites=8, sampler="random"), measure)
    after = store.trials("study")
    assert [trial.state for trial in after] == ["finished"] * 40
    for trial in before:
        if trial.state == "finished":
            assert after[trial.number].measurements[:2] == trial.measurements
    assert max(Counter(measure.measured).values()) == 1


@dataclass
class Interrupting(Evaluator):
    """Measures like the fake, and does something before the n-th training."""

    at: int
    act: Callable[[], None]
    inner: FakeEvaluator
    trainings: int = 0

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        for measured in self.inner(plan, seeds, split, rungs):
            self.trainings += 1
            if self.trainings == self.at:
                self.act()
            yield measured


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_server_that_stays_away_ends_the_search_with_a_sentence_and_it_can_be_resumed(
    make_engine: MakeEngine, url: str, store: Store, postgresql: Server
) -> None:
    first = make_engine(trials=20)
    impatient = Store(url, patience=1)
    engine = engine_for(impatient, store.study("study"), first._config, first._space)
    measure = Interrupting(15, postgresql.kill, FakeEvaluator())
    try:
        with pytest.raises(WriteError, match=r"the database postgresql\+psycopg://.* failed: "):
            run_inline(engine, measure)
        with pytest.raises(StoreError, match=r"cannot use the database .*check --storage"):
            Store(url).studies()
    finally:
        postgresql.start()
        impatient.close()
    run_inline(make_engine(trials=20), measure)
    trials = store.trials("study")
    assert [trial.state for trial in trials] == ["finished"] * 20
    again = [job for job, times in Counter(measure.inner.measured).items() if times > 1]
    assert len(again) == 1  # the seed whose result could not be written


def test_a_database_that_is_locked_for_a_while_is_waited_for(store: Store, url: str) -> None:
    store.create_study(STUDY)
    blocker = sqlite3.connect(url.removeprefix("sqlite:///"), check_same_thread=False)
    blocker.isolation_level = None
    blocker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: blocker.execute("COMMIT")).start()
    store.add_trial("s", TRIAL)
    blocker.close()
    assert store.trials("s")[0].plan == PLAN
