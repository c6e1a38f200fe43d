"""All searchers of benchmarks/opponents.py meet one task, and are charged and scored alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.kept import Row
from benchmarks.opponents import by_seed, compared, searched, table
from benchmarks.search_task import PATIENCE, SpentError, Task
from benchmarks.searchers import GP_START, SEARCHERS, as_ours, at_random
from benchmarks.truth import best_order, ceiling
from isoshare.search.config import make_config
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.samplers.expected_improvement import START
from isoshare.search.workflows.launch import prepare, start
from isoshare.storage.store import Store

TABLE = "sharebench-cifar10"


def spend(searcher: str, seed: int, trials: int) -> list[str]:
    """The plans of one search, in its order."""
    task = Task(TABLE, seed, trials)
    with pytest.raises(SpentError):
        SEARCHERS[searcher](task)
    return task.finished(trials)


def test_ours_measures_what_a_search_would(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/study.db")
    asked = {"table": TABLE, "sampler": "ehvi", "seed": 3, "trials": 16, "workers": 1}
    prepared = prepare(make_config(asked), store)
    run_simulated(start(prepared, store), prepared.evaluator, 1)
    trials = store.trials(prepared.study.name)
    store.close()
    assert spend("ehvi", 3, 16) == [trial.plan.fingerprint for trial in trials]


@pytest.mark.parametrize("searcher", ["local", "Optuna TPE on integers"])
def test_all_begin_with_the_same_plans(searcher: str) -> None:
    starts = [plan.fingerprint for plan in Task(TABLE, 0, 1).starts]
    assert spend(searcher, 0, 12)[: len(starts)] == starts


def test_a_start_like_ours_is_ours() -> None:
    task = Task(TABLE, 2, START)
    as_ours(task)
    assert list(task.accuracy) == spend("ehvi", 2, START)


def test_a_random_start_begins_with_the_same_plans() -> None:
    task = Task(TABLE, 2, GP_START)
    at_random(task)
    starts = [plan.fingerprint for plan in task.starts]
    assert list(task.accuracy)[: len(starts)] == starts
    assert len(task.accuracy) == GP_START


def test_answers_make_their_plan() -> None:
    task = Task(TABLE, 0, 1)
    assert all(task.plan_of(task.answers(plan)) == plan for plan in task.table.plans[::20])


def test_epochs_are_charged_once() -> None:
    task = Task(TABLE, 0, 2)
    one, other, third = task.table.plans[:3]
    task.measure(one, 1)
    assert task.finished(2) == []
    known = task.measure(one)
    assert task.measure(one) == known
    assert task.finished(1) == [one.fingerprint]
    task.measure(other)
    with pytest.raises(SpentError):
        task.measure(third, 1)


def test_who_insists_on_a_known_plan_gets_a_random_one() -> None:
    task = Task(TABLE, 0, 2)
    for _ in range(PATIENCE + 2):
        task.measure(task.starts[0])
    assert len(task.finished(2)) == 2


def test_the_ceiling_is_the_true_front() -> None:
    size = len(best_order(TABLE))
    most = ceiling(TABLE, (1, size, size + 5))
    assert most["found"][size][0] == pytest.approx(1.0)
    assert most["found"][1][0] < 1
    assert np.all(most["shown"][size] <= most["found"][size] + 1e-9)
    assert most["shown"][size].mean() < 1, "one seed does not tell who is on the front"
    assert np.array_equal(most["shown"][size], most["shown"][size + 5])


def test_a_search_becomes_a_row_and_rows_a_table() -> None:
    rows = [searched(TABLE, name, seed, 10) for seed in range(6) for name in ("ehvi", "random")]
    assert all(0 < row["found"]["10"] < 1 for row in rows)
    drawn = table(rows, TABLE)
    assert "| random | 6 |" in drawn
    assert "p " in drawn
    assert "*ceiling*" in drawn


def test_only_pairs_are_compared_and_enough_of_them() -> None:
    def row(searcher: str, seed: int, value: float) -> Row:
        values = {"found": {"10": value}, "shown": {"10": value}}
        return {"table": TABLE, "searcher": searcher, "seed": seed, "trials": 10, **values}

    rows = [row("ehvi", seed, 0.9) for seed in range(8)]
    rows += [row("local", seed, 0.8) for seed in range(7)]
    mine, other = (by_seed(rows, TABLE, searcher) for searcher in ("ehvi", "local"))
    ahead = compared(other, mine, "found", "10")
    assert ahead is not None
    assert ahead == pytest.approx((0.1, 0.015625))
    few = {seed: other[seed] for seed in range(5)}
    assert compared(few, mine, "found", "10") is None
