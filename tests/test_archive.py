"""A study in a file: what comes back is what went in, and nothing else gets in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.search.drivers.inline import run_inline
from isoshare.search.results.study_results import load_results
from isoshare.search.workflows.administration.archive import (
    ArchiveError,
    restore_archive,
    write_archive,
)
from isoshare.search.workflows.administration.manage import Request, carry_out
from isoshare.space.errors import IsoshareError
from isoshare.storage.opening.database import StoreError
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine


@pytest.fixture
def archive(make_engine: MakeEngine, store: Store, tmp_path: Path) -> Path:
    """A search with a failed and a running trial, in a file."""
    measure = FakeEvaluator()
    engine = make_engine()
    run_inline(engine, measure)
    engine = make_engine(trials=16)
    job = engine.ask()
    assert job is not None
    engine.fail(job.number, "the loss became nan in epoch 1")
    assert engine.ask() is not None
    write_archive(store, "study", tmp_path / "study.gz")
    return tmp_path / "study.gz"


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_a_study_comes_back_as_it_was_and_can_go_on(
    make_engine: MakeEngine, archive: Path, store: Store
) -> None:
    study, trials, front = store.study("study"), store.trials("study"), _front(store)
    with pytest.raises(StoreError, match="study 'study' exists already"):
        restore_archive(store, archive)
    store.delete_study("study")
    assert store.studies() == []
    assert restore_archive(store, archive) == study
    assert (store.study("study"), store.trials("study"), _front(store)) == (study, trials, front)
    run_inline(make_engine(trials=16), FakeEvaluator())
    assert [t.state for t in store.trials("study")] == ["finished"] * 12 + ["failed"] + [
        "finished"
    ] * 3


def _front(store: Store) -> Any:
    return load_results(store, "study").front


def test_an_archive_goes_into_a_database_that_is_not_there_yet(
    archive: Path, store: Store, tmp_path: Path
) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    said = carry_out(Request(restore=archive), other, Path())
    assert said == "restored study 'study': look at it with 'isoshare pareto study'"
    assert other.trials("study") == store.trials("study")
    with pytest.raises(StoreError, match="'study' exists already"):
        carry_out(Request(restore=archive), other, Path())
    said = carry_out(Request(restore=archive, name="again"), other, Path())
    assert said == "restored study 'again': look at it with 'isoshare pareto again'"
    assert other.trials("again") == store.trials("study")
    assert replace(other.study("again"), name="study") == store.study("study")
    with pytest.raises(IsoshareError, match=r"a study name has letters .* got ''; --as NAME"):
        carry_out(Request(restore=archive, name=""), other, Path())
    other.close()


def test_deleting_takes_the_checkpoints_along_and_refuses_a_running_study(
    archive: Path, store: Store, url: str
) -> None:
    folder = checkpoint_folder("study")
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / "abandoned").write_text("")
    driver = Store(url)
    driver.take_lease("study")
    with pytest.raises(StoreError, match="'study' is being run"):
        carry_out(Request(delete="study"), store, Path())
    driver.release_lease("study")
    driver.close()
    assert carry_out(Request(delete="study"), store, Path()) == (
        "deleted study 'study' with 12 finished trials"
    )
    assert not folder.exists()
    with pytest.raises(StoreError, match="unknown study 'study'"):
        carry_out(Request(delete="study"), store, Path())


Lines = list[dict[str, Any]]


def drop_last(lines: Lines) -> None:
    del lines[-1]


def set_in(*path: Any, value: Any) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        inner: Any = lines
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_in(0, "schema", value="isoshare.archive/9"), "schema: input should be"),
        (set_in(0, "study", "context", "sites", value=[{}]), "line 1, context: sites.0.name"),
        (set_in(0, "study", "config", "trials", value=0), "wrong option trials"),
        (set_in(0, "study", "config", "nonsense", value=0), "unknown option 'nonsense'"),
        (set_in(0, "study", "created", value="2030-01-02T00:00:00"), "created"),
        (set_in(3, "state", value="dreaming"), "line 4: state"),
        (set_in(3, "number", value=7), "out of order or repeated"),
        (set_in(3, "banks", 0, "method", value="nonsense"), "unknown method 'nonsense'"),
        (set_in(3, "measurements", 0, "seed", value=1), "has a measurement twice"),
        (set_in(3, "measurements", 0, "values", value={"accuracy": "x"}), "line 4: measurements"),
        (drop_last, "ends after 13 of 14 trials"),
    ],
)
def test_a_changed_file_is_refused_and_nothing_is_written(
    archive: Path, store: Store, change: Callable[[Lines], None], says: str
) -> None:
    store.delete_study("study")
    lines = list(map(json.loads, gzip.decompress(archive.read_bytes()).splitlines()))
    change(lines)
    archive.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    with pytest.raises(IsoshareError, match=says) as caught:
        restore_archive(store, archive)
    assert str(archive) in str(caught.value)
    assert store.studies() == []


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.tuples(st.floats(0, 1), st.integers(0, 255), st.booleans(), st.booleans()))
def test_a_damaged_file_is_refused_or_read_and_never_crashes(
    archive: Path, store: Store, damage: tuple[float, int, bool, bool]
) -> None:
    place, value, cut, packed = damage
    whole = archive.read_bytes()
    data = bytearray(whole if packed else gzip.decompress(whole))
    at = int(place * (len(data) - 1))
    data = data[:at] if cut else data[:at] + bytes([value]) + data[at + 1 :]
    damaged = archive.with_suffix(".damaged")
    damaged.write_bytes(data if packed else gzip.compress(data))
    other = Store(f"sqlite:///{archive.with_suffix('.db')}")
    try:
        study: StudyRecord = restore_archive(other, damaged)
    except IsoshareError:
        assert other.studies() == []
    else:
        load_results(other, study.name)
        other.delete_study(study.name)
    finally:
        other.close()


def test_a_file_that_is_no_archive_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    with pytest.raises(ArchiveError, match="cannot read"):
        restore_archive(store, path)
    path.write_text("no archive")
    with pytest.raises(ArchiveError, match="not an archive of a study, or damaged"):
        restore_archive(store, path)
    with pytest.raises(StoreError, match="no studies in"):
        write_archive(store, "s", path)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"delete": "a", "restore": Path("b")}, "one of --delete, --archive and --restore"),
        ({"archive": "a"}, "give both"),
        ({"output": Path("b")}, "give both"),
        ({"name": "c"}, "add --restore FILE"),
    ],
)
def test_half_a_request_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(IsoshareError, match=says):
        Request(**asked)
