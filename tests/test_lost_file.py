"""A SQLite file that is deleted, replaced or damaged while it is in use: nothing goes on unseen."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from isoshare.evaluators.evaluator import Measured
from isoshare.search.drivers.inline import run_inline
from isoshare.storage.change_feed import Overview, WatchedStore
from isoshare.storage.opening.database import StoreError, WriteError, parse_url
from isoshare.storage.opening.database import make_engine as make_database_engine
from isoshare.storage.records import NoteRecord, StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import StudyConfig, StudyContext
from tests.fakes import FakeEvaluator, MakeEngine
from tests.test_store import CONFIG, CONTEXT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The database that the fixture ``store`` uses."""
    return tmp_path / "test.db"


class After(FakeEvaluator):
    """Does something to the file after so many trainings."""

    def __init__(self, trainings: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.trainings, self.waiting = trainings, [act]

    def __call__(self, *arguments: Any) -> Iterator[list[Measured]]:
        if len(self.measured) >= self.trainings and self.waiting:
            self.waiting.pop()()
        return super().__call__(*arguments)


@pytest.mark.parametrize("kind", ["deleted", "replaced"])
def test_a_search_stops_and_says_where_its_trials_are(
    make_engine: MakeEngine, store: Store, file: Path, kind: str
) -> None:
    other = file.with_name("other.db")
    Store(f"sqlite:///{other}").close()

    def act() -> None:
        file.unlink()
        if kind == "replaced":
            with closing(sqlite3.connect(other)) as connection:
                connection.execute("CREATE TABLE t (x)")
            shutil.copy(other, file)

    with pytest.raises(WriteError, match="was deleted or replaced by another file") as error:
        run_inline(make_engine(sampler="random"), After(8, act))
    (saved,) = re.findall(r"is in (\S+): put it", str(error.value))
    trials = Store(f"sqlite:///{saved}").trials("study")
    assert [trial.state for trial in trials[:4]] == ["finished"] * 4
    with pytest.raises(WriteError, match=re.escape(saved)):  # it stays so: nothing goes elsewhere
        store.trials("study")
    assert len(list(file.parent.glob("*saved*.db"))) == 1
    store.close()
    Path(saved).replace(file)
    with closing(Store(f"sqlite:///{file}")) as again:
        assert len(again.trials("study")) == len(trials)


def test_a_reader_that_follows_sees_what_is_at_the_place_now(
    make_engine: MakeEngine, store: Store, file: Path
) -> None:
    run_inline(make_engine(), FakeEvaluator())
    store.close()
    copy = file.with_name("copy.db")
    shutil.copy(file, copy)
    watched = WatchedStore(f"sqlite:///{file}")
    assert list(watched.overview(Overview()).studies) == ["study"]
    file.unlink()
    assert watched.overview(Overview()) == Overview()
    with pytest.raises(StoreError, match="no studies in"):
        watched.study("study")
    shutil.copy(copy, file)
    assert list(watched.overview(Overview()).studies) == ["study"]
    watched.close()


def test_a_damaged_database_is_not_called_whole(
    make_engine: MakeEngine, store: Store, file: Path
) -> None:
    run_inline(make_engine(), FakeEvaluator())
    store.close()
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(StoreError, match="restore a copy of the file") as error:
        store.trials("study")
    assert "whole" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("folded", [0, 2])
def test_a_reader_does_no_harm_to_files_that_are_being_copied_back(
    make_engine: MakeEngine, store: Store, file: Path, share: float, folded: int
) -> None:
    run_inline(make_engine(sampler="random"), FakeEvaluator())
    count = len(store.trials("study"))
    for _ in range(folded):  # the log into the file, and more into the log
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint")
        store.write_note("study", NoteRecord(None, "a note", (), ""))
    log = Path(f"{file}-wal")
    kept, whole = log.read_bytes(), file.read_bytes()
    assert kept
    store.close()
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()
    watched = WatchedStore(f"sqlite:///{file}")
    log.write_bytes(kept)
    with file.open("wb") as copy:
        copy.write(whole[: int(share * len(whole))])
        copy.flush()
        with suppress(StoreError):
            assert watched.overview(Overview()) == Overview()
        copy.write(whole[int(share * len(whole)) :])
    assert len(watched.trials("study")) == count
    assert [note.text for note in watched.notes("study")] == ["a note"] * bool(folded)
    watched.close()


def test_a_file_that_stays_cut_off_is_refused_with_a_sentence(
    make_engine: MakeEngine, store: Store, file: Path
) -> None:
    run_inline(make_engine(), FakeEvaluator())
    store.close()
    with file.open("r+b") as cut:
        cut.truncate(file.stat().st_size // 2)
    with pytest.raises(StoreError, match="not whole: it is still being copied"):
        Store(f"sqlite:///{file}").trials("study")


LOOK = """
import sys
from isoshare.storage.store import Store
print(len(Store(sys.argv[1]).studies()))
"""
TABLES = """
import sys
from isoshare.storage.transactions import Database
Database(sys.argv[1]).create()
"""
LOGGED = """
import sys, sqlite3
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("CREATE TABLE of_somebody_else (x)")
"""
STUDY = f"""
import sys
from datetime import UTC, datetime
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import StudyConfig, StudyContext
config, context = StudyConfig.read({CONFIG!r}), StudyContext.read({CONTEXT!r})
Store(sys.argv[1]).create_study(StudyRecord("study", datetime.now(UTC), config, context))
"""


def _elsewhere(program: str, argument: object) -> str:
    """What another process prints, which closes the file at its end."""
    line = [sys.executable, "-c", program, str(argument)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def test_what_is_written_while_others_come_and_go_is_there_for_all(file: Path) -> None:
    url = f"sqlite:///{file}"
    config, context = StudyConfig.read(CONFIG), StudyContext.read(CONTEXT)
    with Store(url) as store, Store(url) as second:
        store.create_study(StudyRecord("first", datetime.now(UTC), config, context))
        assert len(second.studies()) == 1  # it looks at the file: our locks must outlast that
        assert _elsewhere(LOOK, url) == "1\n"
        store.create_study(StudyRecord("second", datetime.now(UTC), config, context))
        assert _elsewhere(LOOK, url) == "2\n"


def test_who_waits_for_the_tables_of_a_search_sees_all_that_comes_after_them(file: Path) -> None:
    url = f"sqlite:///{file}"
    _elsewhere(LOGGED, file)
    store = Store(url)
    assert [store.studies() for _ in range(2)] == [[], []]
    _elsewhere(TABLES, url)
    assert store.studies() == []
    _elsewhere(STUDY, url)
    assert len(store.studies()) == 1


def test_a_file_that_was_just_taken_away_is_not_made_anew(file: Path) -> None:
    engine = make_database_engine(parse_url(f"sqlite:///{file}"))
    with pytest.raises(OperationalError, match="unable to open"):
        engine.connect()
    assert not file.exists()
