"""A SQLite file that is deleted, replaced or damaged while it is in use: nothing goes on unseen."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from isoshare.evaluators.evaluator import Measured
from isoshare.search.drivers.inline import run_inline
from isoshare.storage.change_feed import Overview, WatchedStore
from isoshare.storage.opening.database import StoreError, WriteError
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine


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
