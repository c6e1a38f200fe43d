"""What has changed in a study, told by small queries, and the picture of it that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.results.history import history_of
from search.results.pareto import load_results
from search.service.mirror import Mirror
from storage.database import StoreError
from storage.watched_store import Seen, WatchedStore
from tests.fakes import FakeMeasure
from tests.service_fakes import engine_of


@pytest.fixture
def watched(tmp_path: Path) -> WatchedStore:
    return WatchedStore(f"sqlite:///{tmp_path / 'test.db'}")


def test_a_mirror_is_what_a_fresh_reader_sees_after_every_change(watched: WatchedStore) -> None:
    engine, measure = engine_of(watched, "s"), FakeMeasure()
    mirror = Mirror(watched, "s", 0.0)
    versions = [mirror.read().version]
    while (job := engine.ask()) is not None:
        if job.number == 3:
            engine.fail(3, "nan")
        else:
            for measured in measure(job.plan, job.seeds, job.split):
                engine.tell(job.number, measured)
        snapshot, fresh = mirror.read(), load_results(watched, "s")
        assert snapshot.results.trials == fresh.trials
        assert snapshot.results.front == fresh.front
        assert {t.number for t in snapshot.results.finished} == {t.number for t in fresh.finished}
        versions.append(snapshot.version)
    assert versions == sorted(set(versions))
    assert mirror.read() is mirror.read()
    assert mirror.read().complete
    whole = history_of(fresh.study, fresh.front.axes, fresh.trials)
    assert mirror.read().history.moments == whole.moments


def test_nothing_is_read_twice(watched: WatchedStore) -> None:
    engine, measure = engine_of(watched, "s"), FakeMeasure()
    first = watched.changes("s", Seen())
    assert first.is_new
    assert first.trials == []
    jobs = [engine.ask(), engine.ask()]
    assert all(jobs)
    second = watched.changes("s", first.seen)
    assert [trial.number for trial in second.trials] == [0, 1]
    job = jobs[0]
    assert job is not None
    for measured in measure(job.plan, job.seeds, job.split):
        engine.tell(job.number, measured)
    third = watched.changes("s", second.seen)
    assert {t.number: t.state for t in third.trials} == {0: "finished", 1: "running"}
    engine.fail(1, "nan")
    fourth = watched.changes("s", third.seen)
    assert {t.number: t.state for t in fourth.trials} == {1: "failed"}
    assert watched.changes("s", fourth.seen).trials == []


def test_a_study_that_was_made_again_is_another_one(watched: WatchedStore) -> None:
    engine_of(watched, "s").ask()
    mirror = Mirror(watched, "s", 0.0)
    assert len(mirror.read().results.trials) == 1
    watched.delete_study("s")
    assert watched.names() == []
    with pytest.raises(StoreError, match="unknown study"):
        mirror.read()
    engine_of(watched, "other")
    engine_of(watched, "s")
    assert mirror.read().results.trials == ()


def test_a_database_that_does_not_exist_has_no_names_and_is_not_made(tmp_path: Path) -> None:
    store = WatchedStore(f"sqlite:///{tmp_path / 'none.db'}")
    assert store.names() == []
    assert not (tmp_path / "none.db").exists()
