"""What has changed in a study, told by small queries, and the picture of it that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isoshare.search.drivers.inline import run_inline
from isoshare.search.results.hypervolume_history import history_of
from isoshare.search.results.study_results import load_results
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.search.service.studies.study_cache import Mirror
from isoshare.storage.change_feed import Cursor, Overview, WatchedStore
from isoshare.storage.records import MeasurementRecord
from tests.fakes import FakeEvaluator
from tests.service_fakes import engine_of

BOTH = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def watched(url: str) -> Iterator[WatchedStore]:
    store = WatchedStore(url)
    yield store
    store.close()


@BOTH
def test_a_mirror_is_what_a_fresh_reader_sees_after_every_change(watched: WatchedStore) -> None:
    engine, measure = engine_of(watched, "s"), FakeEvaluator()
    mirror, seen = Mirror(watched, "s"), Overview()

    def look() -> Snapshot:
        nonlocal seen
        seen = watched.overview(seen)
        return mirror.read(seen.studies["s"])

    versions = [look().version]
    while (job := engine.ask()) is not None:
        if job.number == 3:
            engine.fail(3, "nan")
        else:
            for measured in measure(job.plan, job.seeds, job.split):
                engine.tell(job.number, measured)
        snapshot, fresh = look(), load_results(watched, "s")
        assert snapshot.results.trials == fresh.trials
        assert snapshot.results.front == fresh.front
        assert {t.number for t in snapshot.results.finished} == {t.number for t in fresh.finished}
        versions.append(snapshot.version)
    assert versions == sorted(set(versions))
    assert look() is look()
    assert look().complete
    whole = history_of(fresh.study, fresh.front.axes, fresh.trials)
    assert look().history.moments == whole.moments


@BOTH
def test_nothing_is_read_twice(watched: WatchedStore) -> None:
    engine, measure = engine_of(watched, "s"), FakeEvaluator()
    first = watched.changes("s", Cursor())
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


@BOTH
@pytest.mark.parametrize("between", [[], ["other"]])
def test_a_study_that_was_made_again_is_another_one(
    watched: WatchedStore, between: list[str]
) -> None:
    engine_of(watched, "s").ask()
    mirror, seen = Mirror(watched, "s"), watched.overview(Overview())
    glance = seen.studies["s"]
    assert len(mirror.read(glance).results.trials) == 1
    watched.delete_study("s")
    seen = watched.overview(seen)
    assert not seen.studies
    for name in [*between, "s"]:  # SQLite gives the same number again if there was none between
        engine_of(watched, name)
    again = watched.overview(seen).studies["s"]
    assert again != glance
    assert mirror.read(again).results.trials == ()


@BOTH
def test_a_glance_shows_every_change_and_nothing_else(watched: WatchedStore) -> None:
    engine, measure = engine_of(watched, "s"), FakeEvaluator()
    for name in ("still", "gone"):
        run_inline(engine_of(watched, name, trials=2), measure)
    seen = watched.overview(Overview())
    still = seen.studies["still"]
    assert list(seen.studies) == ["s", "still", "gone"]

    def differs() -> bool:
        nonlocal seen
        before, seen = seen, watched.overview(seen)
        assert seen.studies["still"] == before.studies["still"] == still
        return seen.studies["s"] != before.studies["s"]

    assert not differs()
    jobs = [engine.ask(), engine.ask(), engine.ask()]
    assert differs()
    for job in jobs[:2]:
        assert job is not None
        for measured in measure(job.plan, job.seeds, job.split):
            engine.tell(job.number, measured)
            assert differs()
    engine.fail(2, "nan")
    assert differs()
    watched.stop_trial("s", 1)
    assert differs()
    late = MeasurementRecord(7, "test", {"epochs": 1}, {"accuracy": 0.5}, 1.0)
    watched.add_measurements("s", 0, [late], finished=True)  # no trial changes its state
    assert differs()
    watched.take_lease("s")
    assert differs()
    assert not differs()
    watched.release_lease("s")
    assert differs()
    watched.delete_study("gone")
    seen = watched.overview(seen)
    assert seen.studies["still"] != still  # numbers of measurements may be given again
    assert not watched.overview(seen).studies.keys() ^ {"s", "still"}


def test_a_database_that_does_not_exist_has_no_studies_and_is_not_made(tmp_path: Path) -> None:
    store = WatchedStore(f"sqlite:///{tmp_path / 'none.db'}")
    assert not store.overview(Overview()).studies
    assert not (tmp_path / "none.db").exists()
