"""A search that has a time: what runs ends with its epoch, and what it costs is told beforehand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import isoshare
from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.options.durations import seconds_of, span
from isoshare.search.results.describe import pace_in_words, unknown_pace
from isoshare.search.workflows.launch import prepare, start
from isoshare.search.workflows.preparation.cost import trial_seconds
from isoshare.storage.store import Store
from tests.fakes import Command, FakeEvaluator, MakeEngine
from tests.own_tasks import SeriesNet, series

SMALL = {"backbone": "resnet_cifar", "backbone_arg": {"depth": 8, "width": 1}, "subset": 100}

DRY = {
    "backbone": "resnet_cifar",
    "backbone-arg": "depth=8",
    "subset": 100,
    "epochs": 1,
    "trials": 9,
    "workers": 2,
}


def test_times_as_people_type_them(command: Command) -> None:
    given = {"90": 90, "90s": 90, "30m": 1800, "2h": 7200, "1d": 86400}
    assert {text: seconds_of(text) for text in given} == given
    said = [span(one) for one in (0.423, 12.2, 185, 9000)]
    assert said == ["0.42 s", "12 s", "3:05 min", "2:30 h"]
    assert make_config({"timeout": "2h"}).seconds == 7200
    code, _, error = command("launch", "--timeout", "soon", "--storage", "sqlite://")
    assert (code, "a time such as 90s, 30m, 2h or 1d, got 'soon'" in error) == (2, True)


def test_what_a_trial_costs_in_words() -> None:
    assert pace_in_words(2, 10, None) == "2 s per trial, 20 s left"
    assert pace_in_words(2, 10, 60) == "2 s per trial, 20 s left"
    assert pace_in_words(2, 1000, 60) == "2 s per trial, 30 more fit the time"
    assert unknown_pace(None) == "how long this takes is known when the first has ended"
    assert unknown_pace(60).startswith("how many trials fit the time is known when")


@pytest.mark.parametrize("replicates", [1, 2])
def test_the_trainer_ends_with_its_epoch(store: Store, replicates: int) -> None:
    options: dict[str, Any] = {**SMALL, "study": "s", "epochs": 5000, "replicates": replicates}
    prepared = prepare(make_config(options), store)
    engine = start(prepared, store)
    engine.stopping.deadline = time.time() + 0.3
    run_inline(engine, prepared.evaluator.ending(engine.stopping.deadline))
    assert engine.done
    (trial,) = store.trials("s")
    assert trial.state == "stopped"
    assert {one.seed for one in trial.measurements} == set(range(replicates))
    assert all(1 <= one.fidelity["epochs"] < 5000 for one in trial.measurements)


def test_data_of_ones_own_end_with_their_epoch() -> None:
    study = isoshare.create_study(SeriesNet(2, 1), methods=["kernel"])
    study.optimize(isoshare.Training(series, epochs=5000), timeout=0.5)
    assert [trial.state for trial in study.trials] == ["stopped"]


def test_the_time_begins_when_all_is_ready(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the command line as in Python: Ray, and what is trained before, cost none of it."""
    seen: list[float | None] = []

    def getting_ready(*_: object) -> Any:
        seen.append(time.time())
        return lambda engine, *_: seen.append(engine.stopping.deadline)

    monkeypatch.setattr("isoshare.search.cli.session._driver", getting_ready)
    asked = ("--driver", "simulate", "--table", "sharebench-digits", "--timeout", "90s")
    code, _, error = command("launch", *asked, "--storage", f"sqlite:///{tmp_path}/s.db")
    assert code == 130, error
    ready, deadline = seen
    assert ready is not None
    assert deadline is not None
    assert deadline >= ready + 90


def test_a_test_that_is_late_is_left_out(make_engine: MakeEngine, store: Store) -> None:
    """The front keeps what was measured, and nothing of half a training counts as a test."""
    engine = make_engine(trials=2, replicates=1)
    while (job := engine.ask()) and job.split == "validation":
        engine.tell(job.number, [Measured(0, {"accuracy": 0.5 + 0.1 * job.number}, 1.0)])
    assert job is not None
    engine.stopping.deadline = 0.0
    assert engine.tell(job.number, [Measured(0, {"accuracy": 0.1}, 1.0, epochs=3)])
    assert engine.done
    assert all(one.value("accuracy", "test") is None for one in store.trials("study"))
    run_inline(again := make_engine(trials=2, replicates=1), FakeEvaluator())
    assert again.done
    assert store.trials("study")[job.number].value("accuracy", "test") is not None


def test_what_a_trial_will_cost(store: Store) -> None:
    """Tried out where nothing is known; then from what has been measured."""
    options: dict[str, Any] = {**SMALL, "study": "s", "epochs": 2, "replicates": 1, "trials": 1}
    prepared = prepare(make_config(options), store)
    tried = trial_seconds(prepared, [])
    assert tried is not None
    assert 0 < tried < 60
    run_inline(start(prepared, store), prepared.evaluator)
    (trial,) = store.trials("s")
    spent = [one.seconds for one in trial.measurements if one.split == "validation"]
    assert trial_seconds(prepared, [trial]) == sum(spent)
    assert isoshare.Training(series, epochs=2).seconds(SeriesNet(2, 1)) > 0
    assert FakeEvaluator().seconds(1) is None


def test_a_dry_run_says_what_would_be_searched_and_stores_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [f"--{name}={value}" for name, value in DRY.items()]
    code, output, _ = command("launch", *asked, "--dry-run", "--json")
    assert code == 0
    found = json.loads(output)
    assert found["plans"] > found["trials"] == 9
    assert 0 < found["reach"] <= 1
    assert found["smallest"] < found["parameters"]
    assert found["seconds"] == 5 * found["seconds_per_trial"] > 0, "nine trials, two at a time"
    code, output, _ = command("launch", *asked, "--dry-run")
    assert code == 0
    assert "of which 9 are measured" in output
    code, _, said = command("launch", *asked, "--json")
    assert (code, "add --dry-run" in said) == (2, True)
    code, output, _ = command("studies", "--json")
    assert json.loads(output) == []
