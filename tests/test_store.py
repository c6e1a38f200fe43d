"""The store: records in, records out; no call can count twice or leave something half written."""

from __future__ import annotations

import re
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from isoshare.space.plan import Bank, SharingPlan
from isoshare.storage.opening.database import StoreError
from isoshare.storage.records import MeasurementRecord, StudyRecord, TrialRecord
from isoshare.storage.store import Store

on_both_databases = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
CONFIG = {"backbone": "resnet_cifar", "dataset": "digits", "trials": 3, "methods": ["kernel"]}
CONTEXT = {
    "backbone": {"name": "resnet_cifar", "arguments": {"depth": 8}},
    "sites": [
        {"name": name, "kernel_size": [1, 1], "in_channels": 1, "out_channels": 3}
        for name in ("a", "b")
    ],
    "unshared": 7,
    "plans": "2",
    "objectives": {
        "accuracy": {"direction": "maximize", "reference": 0.0},
        "parameters": {"direction": "minimize", "reference": 7.7},
    },
    "dataset": {"name": "digits", "fingerprint": "0" * 16},
    "versions": {"python": "3.11.7"},
}
"""As the first version has written a study."""
STUDY = StudyRecord.read("s", datetime(2030, 1, 2, tzinfo=UTC), CONFIG, CONTEXT)
PLAN = SharingPlan((Bank("kernel", {}, ("a", "b")),))
TRIAL = TrialRecord(0, PLAN, "sampler", "running", {"parameters": 5}, {"params": {}})


def measurement(seed: int, value: float = 0.5) -> MeasurementRecord:
    return MeasurementRecord(
        seed, "validation", {"epochs": 2}, {"accuracy": value}, 1.5, {"device": "cpu"}
    )


@pytest.fixture
def filled(store: Store) -> Store:
    store.create_study(STUDY)
    store.add_trial("s", TRIAL)
    return store


@on_both_databases
def test_what_is_stored_comes_back(filled: Store) -> None:
    filled.add_measurements("s", 0, [measurement(1)], finished=False)
    filled.add_measurements("s", 0, [measurement(0, 0.7)], finished=True)
    assert filled.study("s") == STUDY
    (trial,) = filled.trials("s")
    expected = replace(TRIAL, state="finished", measurements=(measurement(1), measurement(0, 0.7)))
    assert trial == expected
    assert trial.samples("accuracy") == [0.7, 0.5]
    assert trial.value("accuracy") == pytest.approx(0.6)
    assert trial.error_bar("accuracy") == pytest.approx(0.1)
    assert trial.value("parameters") == 5
    assert trial.value("accuracy", "test") is None


@on_both_databases
def test_the_last_epoch_of_a_seed_counts_and_a_stopped_trial_keeps_it(filled: Store) -> None:
    for epochs, value in ((4, 0.6), (2, 0.5), (10, 0.7)):
        record = replace(measurement(0, value), fidelity={"epochs": epochs})
        filled.add_measurements("s", 0, [record], finished=False)
    filled.stop_trial("s", 0)
    (trial,) = filled.trials("s")
    assert (trial.state, trial.samples("accuracy")) == ("stopped", [0.7])
    assert [(s.finished, s.failed, s.stopped) for s in filled.studies()] == [(0, 0, 1)]


def test_a_printed_trial_is_one_short_line() -> None:
    trial = replace(TRIAL, measurements=(measurement(0, 0.7), measurement(1)))
    assert repr(trial) == "TrialRecord(0, running, accuracy=0.6, parameters=5, banks=1)"


@on_both_databases
def test_a_measurement_cannot_count_twice(filled: Store) -> None:
    for value in (0.5, 0.9):
        filled.add_measurements("s", 0, [measurement(0, value)], finished=False)
    assert filled.trials("s")[0].samples("accuracy") == [0.5]


@on_both_databases
def test_a_plan_cannot_be_in_a_study_twice(filled: Store) -> None:
    with pytest.raises(StoreError, match="another search running"):
        filled.add_trial("s", replace(TRIAL, number=1))
    with pytest.raises(StoreError, match="another search running"):
        filled.add_trial("s", replace(TRIAL, plan=SharingPlan()))
    assert len(filled.trials("s")) == 1


@on_both_databases
def test_studies_are_counted(filled: Store) -> None:
    filled.add_trial("s", replace(TRIAL, number=1, plan=SharingPlan()))
    filled.fail_trial("s", 1, "nan")
    filled.add_measurements("s", 0, [measurement(0)], finished=True)
    (summary,) = filled.studies()
    assert (summary.name, summary.finished, summary.failed) == ("s", 1, 1)
    assert filled.trials("s")[1].error == "nan"


@on_both_databases
def test_attempts_and_budget_are_kept(filled: Store) -> None:
    filled.set_attempts("s", 0, 3)
    assert filled.trials("s")[0].attempts == 3
    filled.set_budget("s", 9)
    assert filled.study("s").config.trials == 9


@on_both_databases
def test_a_taken_name_is_refused_and_says_how_to_go_on(filled: Store) -> None:
    says = r"resume it with 'isoshare resume s'"
    with pytest.raises(StoreError, match=says):
        filled.create_study(STUDY)
    with pytest.raises(StoreError, match=says):
        filled.check_free("s")


@on_both_databases
def test_unknown_names_say_what_there_is(filled: Store) -> None:
    with pytest.raises(StoreError, match="unknown study 'x': the database has s"):
        filled.study("x")
    with pytest.raises(StoreError, match="no trial 5"):
        filled.fail_trial("s", 5, "")


def test_reading_never_creates_a_database(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    store = Store(f"sqlite:///{path}")
    assert store.studies() == []
    store.check_free("s")
    with pytest.raises(StoreError, match="launch a search first"):
        store.study("s")
    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "not a database URL"),
        ("sqlite:////no/such/folder/x.db", "cannot use the database"),
        ("nosuch://host/db", "no driver for the database"),
    ],
)
def test_databases_that_cannot_be_opened_are_refused(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        Store(url).create_study(STUDY)
    with pytest.raises(StoreError, match=says):
        Store(url).studies()


def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at " * 50)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="file is not a database"):
        Store(f"sqlite:///{path}").studies()
    assert path.read_bytes() == before


def test_the_password_is_not_shown() -> None:
    with pytest.raises(StoreError) as caught:
        Store("postgresql+nosuch://me:secret@localhost/db")
    assert "secret" not in str(caught.value)


def test_the_database_survives_a_reader_beside_the_writer(filled: Store, tmp_path: Path) -> None:
    reader = sqlite3.connect(tmp_path / "test.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM trial").fetchall()
    filled.add_measurements("s", 0, [measurement(0)], finished=True)
    reader.close()
    assert filled.trials("s")[0].state == "finished"


def test_a_database_is_made_while_somebody_looks_in(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    reader = sqlite3.connect(path, check_same_thread=False)
    reader.execute("CREATE TABLE other (x)")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM other").fetchall()
    closing = threading.Timer(0.3, reader.close)
    closing.start()
    store = Store(f"sqlite:///{path}")
    store.create_study(STUDY)
    closing.join()
    assert [study.name for study in store.studies()] == ["s"]
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_no_query_reads_a_table_of_trials_from_end_to_end(filled: Store) -> None:
    """SQLite's own plan for each query that the store makes."""
    engine = filled._database.engine
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *made: asked.append(made[2:4]))
    filled.studies()
    filled.study("s")
    filled.trials("s")
    filled.trials("s", [0])
    filled.outcomes("s", ["accuracy", "parameters"])
    filled.add_measurements("s", 0, [measurement(0)], finished=True)
    filled.delete_study("s")
    queries = [(sql, values) for sql, values in asked if not sql.startswith(("BEGIN", "INSERT"))]
    assert len(queries) > 10
    with engine.connect() as connection:
        for sql, values in queries:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()
            for *_, step in rows:
                table = re.match(r"SCAN (trial|measurement)(?! USING COVERING INDEX)", step)
                assert not table, f"{step}: {sql}"


def test_a_trial_costs_few_statements(filled: Store) -> None:
    """What is written for each trial is no unit of work of mapped objects: that took five times
    as long.
    """
    said: list[str] = []
    event.listen(
        filled._database.engine, "before_cursor_execute", lambda *sent: said.append(sent[2])
    )
    plan = SharingPlan((Bank("kernel", {}, ("a", "c")),))
    filled.take_lease("s")
    said.clear()
    filled.add_trial("s", replace(TRIAL, number=1, plan=plan))
    filled.add_measurements("s", 1, [measurement(0)], finished=True)
    assert sum(one.startswith("BEGIN") for one in said) == 2, said
    assert len(said) == 10, said
