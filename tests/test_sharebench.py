"""ShareBench: complete tables, quick answers, searches that run unchanged on them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sharebench import evenly_sampled
from isoshare.evaluators.sharebench import PARTS, TABLES, Table, TableError
from isoshare.evaluators.tabular import TabularEvaluator
from isoshare.search.config import make_config
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.workflows.launch import prepare, prepare_resume, start
from isoshare.search.workflows.preparation.tabular import table_space
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import Bank, SharingPlan
from isoshare.storage.store import Store
from tests.fakes import space_with_costs


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.load("sharebench-digits")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_holds_every_plan_of_its_space_once(name: str) -> None:
    table = Table.load(name)
    space = table_space(table)
    assert len(table.plans) == len(set(table.plans)) == space.count()
    assert all(plan in space for plan in table.plans[::50])
    seeds, epochs = table.conditions["seeds"], table.conditions["config"]["epochs"]
    assert seeds >= 3
    for part in PARTS:
        assert table.right[part].shape == (space.count(), seeds, epochs)
        assert 0 <= table.accuracy(part).min() <= table.accuracy(part).max() <= 1
    assert TABLES[name].stat().st_size < 5e6


def test_a_table_comes_back_as_it_was_written(table: Table, tmp_path: Path) -> None:
    table.save(tmp_path / "again.parquet")
    again = Table.load(str(tmp_path / "again.parquet"))
    assert (again.plans, again.conditions) == (table.plans, table.conditions)
    assert all(np.array_equal(again.right[part], table.right[part]) for part in PARTS)


def test_an_answer_takes_less_than_a_millisecond_and_says_what_the_table_says(
    table: Table,
) -> None:
    ask = TabularEvaluator(table, first_seed=7)
    list(ask(table.plans[0], [7], "validation"))
    started = time.process_time()
    for plan in table.plans[:500]:
        list(ask(plan, [7], "validation"))
    assert (time.process_time() - started) / 500 < 1e-3
    steps = list(ask(table.plans[3], [7, 8, 9], "test", (2, 4)))
    assert [step[0].epochs for step in steps] == [2, 4, None]
    values = sorted(one.values["accuracy"] for one in steps[-1])
    assert values == sorted(table.accuracy("test")[3, :, -1])
    seconds = sum(step[0].seconds for step in steps)
    assert seconds == pytest.approx(table.seconds[3] * table.right["test"].shape[2])


def test_searches_of_other_seeds_meet_other_luck(table: Table) -> None:
    def measured(seed: int) -> list[float]:
        ask = TabularEvaluator(table, seed)
        return [next(ask(p, [seed], "validation"))[0].values["accuracy"] for p in table.plans[:50]]

    assert measured(0) == measured(0)
    assert measured(0) != measured(1)


def test_a_search_on_a_table_runs_as_any_other_and_can_be_resumed(store: Store) -> None:
    config = make_config({"table": "sharebench-digits", "trials": 20, "study": "s", "rungs": (3,)})
    prepared = prepare(config, store)
    engine = start(prepared, store)
    seconds = run_simulated(engine, prepared.evaluator, workers=4)
    assert engine.done
    trained = sum(one.seconds for trial in store.trials("s") for one in trial.measurements)
    assert trained / 4 <= seconds < trained
    resumed = prepare_resume("s", store, {"trials": 24})
    engine = start(resumed, store)
    run_simulated(engine, resumed.evaluator, workers=1)
    assert len(store.trials("s")) == 24


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"table": "none"}, "unknown table 'none': choose one of .*sharebench-digits"),
        ({"table": "sharebench-digits", "epochs": 3}, "was made with epochs 6, got 3: leave"),
        ({"driver": "simulate"}, "needs --table, and only it does: got --driver simulate"),
        ({"table": "sharebench-digits", "driver": "ray"}, "got --driver ray with --table"),
        ({"table": __file__}, "is not a table of ShareBench"),
    ],
)
def test_tables_that_cannot_answer_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(IsoshareError, match=says):
        make_config(options)


def test_a_plan_that_is_not_in_the_table_is_refused(table: Table) -> None:
    stranger = SharingPlan((Bank("kernel", {}, ("a", "b")),))
    with pytest.raises(TableError, match="is not in the table"):
        list(TabularEvaluator(table)(stranger, [0], "validation"))


def test_a_search_can_be_made_on_a_table_of_some_plans_of_its_space(
    table: Table, store: Store, tmp_path: Path
) -> None:
    starts = table_space(table).warm_starts().values()
    rows = sorted({table.place[plan.fingerprint] for plan in starts} | set(range(0, 1669, 9)))
    plans = tuple(table.plans[row] for row in rows)
    some = Table(
        {**table.conditions, "sampled": "every ninth plan"},
        plans,
        {part: table.right[part][rows] for part in PARTS},
        table.seconds[rows],
    )
    some.save(tmp_path / "some.parquet")
    for sampler in ("ehvi", "tpe"):
        asked = {"table": str(tmp_path / "some.parquet"), "trials": 30, "sampler": sampler}
        prepared = prepare(make_config({**asked, "study": sampler}), store)
        engine = start(prepared, store)
        run_simulated(engine, prepared.evaluator, workers=2)
        found = [trial.plan for trial in store.trials(sampler)]
        assert {trial.state for trial in store.trials(sampler)} == {"finished"}
        assert len(set(found) & set(plans)) == 30
        assert prepared.study.context.plans == len(plans)


def test_plans_that_are_drawn_for_a_table_cover_the_sizes_evenly() -> None:
    whole = space_with_costs(6, ("kernel", "anchored", "low_rank"))
    some = evenly_sampled(whole, 40)
    assert some.count() == 40
    assert set(some.warm_starts()) == set(whole.warm_starts())
    least, most = (
        math.log(whole.trainable_parameters(p)) for p in (whole.smallest_plan, SharingPlan())
    )

    def quarters(plans: Iterable[SharingPlan]) -> list[int]:
        sizes = [math.log(whole.trainable_parameters(plan)) for plan in plans]
        return list(np.histogram([one for one in sizes if one <= most], 4, (least, most))[0])

    there, taken = quarters(whole.plans()), quarters(some.plans())
    assert sum(taken) == 40
    assert taken[0] >= min(there[0], 6)
    assert max(taken[1:]) - min(taken[1:]) <= 2 < max(there) / min(there)
    assert list(evenly_sampled(whole, 40).plans()) == list(some.plans())
