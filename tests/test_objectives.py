"""Any two or three objectives, in any order: searched, shown, drawn and exported."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.pareto import knee, minimised
from isoshare.search.results.choose import choose, plan_file
from isoshare.search.results.pictures.drawing import write_png
from isoshare.search.results.pictures.figures import axis_title, front_figure
from isoshare.search.results.pictures.front_page import write_html
from isoshare.search.results.pictures.plotly_figure import front_plot
from isoshare.search.results.study_results import Results, load_results
from isoshare.search.results.summary import next_commands
from isoshare.search.results.tables import front_json, front_table
from isoshare.space.plan import PlanFile
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_study, engine_for, space_with_costs

CHOICES = [
    ("latency", "accuracy"),
    ("macs", "bytes"),
    ("accuracy", "parameters", "latency"),
    ("activation_memory", "macs", "accuracy"),
]
METHODS = ("kernel", "anchored", "filter_basis")


def searched(store: Store, objectives: tuple[str, ...]) -> Results:
    space = space_with_costs(4, METHODS)
    config = make_config({"objectives": objectives, "trials": 15, "workers": 1})
    run_inline(
        engine_for(store, create_study(store, space, config), config, space),
        FakeEvaluator(latency=True),
    )
    return load_results(store, "study")


@pytest.mark.parametrize("objectives", CHOICES)
def test_any_objectives_are_shown_drawn_and_exported(
    store: Store, tmp_path: Path, objectives: tuple[str, ...]
) -> None:
    results = searched(store, objectives)
    front = results.front
    document = json.loads(json.dumps(front_json(results)))
    assert document["objectives"] == list(objectives)
    assert all(set(objectives) <= set(row) for row in document["front"])
    assert front_table(results).row_count == len(front.members) > 0
    figure = front_figure(results)
    write_html(figure, tmp_path / "front.html")
    write_png(figure, tmp_path / "front.png")
    assert (figure.y_axis.name, figure.x_axis.name) == objectives[:2]
    third = figure.color_axis.name if figure.color_axis else None
    assert third == (objectives[2] if len(objectives) > 2 else None)
    markers = [trace.get("marker", {}) for trace in front_plot(figure)["traces"]]
    colours = [marker["color"] for marker in markers if marker.get("showscale")]
    assert colours == ([[point.z for point in figure.members]] if third else [])
    assert ("drag to turn it" in (tmp_path / "front.html").read_text()) is (third is not None)
    for trial in (knee(front), choose(front, max_parameters=150), choose(front, min_accuracy=0.5)):
        plan_file(results.study, trial).save(tmp_path / "plan.json")
        assert PlanFile.load(tmp_path / "plan.json").plan == trial.plan
    assert any("--max-parameters" in line for line in next_commands(results, tmp_path))


def test_three_objectives_make_one_front_and_the_third_one_is_the_colour(store: Store) -> None:
    results = searched(store, ("accuracy", "parameters", "latency"))
    points = minimised(results.front.axes, results.finished)
    expected = {
        trial.number
        for trial, row in zip(results.finished, points, strict=True)
        if not any(np.all(o <= row) and np.any(o < row) for o in points)
    }
    assert {trial.number for trial in results.front.members} == expected
    figure = front_figure(results)
    latencies = [trial.value("latency") for trial in results.front.members]
    assert [point.z for point in figure.members] == latencies
    assert len(figure.staircase) < 2 * len(figure.members)
    assert "latency" in figure.members[0].hover


def test_the_order_of_the_objectives_changes_no_front(tmp_path: Path) -> None:
    fronts = []
    for place, objectives in enumerate(permutations(("macs", "bytes", "parameters"))):
        store = Store(f"sqlite:///{tmp_path / str(place)}.db")
        space = space_with_costs(3, METHODS)
        config = make_config({"objectives": objectives, "trials": 1000, "replicates": 1})
        engine = engine_for(store, create_study(store, space, config), config, space)
        run_inline(engine, FakeEvaluator(latency=True))
        volume = round(engine.search_state.front.hypervolume)
        fronts.append(
            (volume, {trial.plan.fingerprint for trial in engine.search_state.front.members})
        )
        store.close()
    assert all(front == fronts[0] for front in fronts)


def test_axes_have_units_and_tables_too(store: Store) -> None:
    results = searched(store, ("latency", "activation_memory", "macs"))
    titles = [axis_title(axis) for axis in results.front.axes]
    assert titles == [
        "latency in ms (less is better)",
        "activation_memory in bytes (less is better)",
        "macs (less is better)",
    ]
    headers = [str(column.header) for column in front_table(results).columns]
    assert "latency in ms" in headers


def test_measured_objectives_have_error_bars_on_both_axes(store: Store) -> None:
    figure = front_figure(searched(store, ("accuracy", "latency")))
    assert all(point.error > 0 and point.x_error > 0 for point in figure.members)


def test_costs_are_stored_with_the_study_where_they_are_known(store: Store) -> None:
    results = searched(store, ("accuracy", "macs"))
    assert set(results.study.context.costs or {}) >= {"calls", "other_macs", "stored", "peak"}
    counted = {"parameters", "macs", "device_bytes", "device_bytes_int8"}
    assert all(counted == set(trial.exact) for trial in results.trials)
    assert results.study.context.objectives["macs"].unit == OBJECTIVES["macs"].unit
