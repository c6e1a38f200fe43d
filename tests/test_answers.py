"""Pictures that answer questions: their numbers are those of the trials."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.pareto import knee
from isoshare.search.results.hypervolume_history import history_of
from isoshare.search.results.optuna_file import frozen_trials, importances
from isoshare.search.results.pictures.answers import (
    by_trial_plot,
    effects_plot,
    groups_plot,
    saved_of,
    timeline_plot,
    unit_of,
)
from isoshare.search.results.pictures.figures import points_of
from isoshare.search.results.study_results import Results
from isoshare.search.results.timeline import seconds_left, span_of, timeline
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.search.workflows.importance import effects
from isoshare.space.plan import SharingPlan
from isoshare.storage.change_feed import WatchedStore
from tests.fakes import FakeEvaluator, create_named_study, engine_for, space_with_costs
from tests.service_fakes import client_of, searched, settings_of

V1 = "/api/v1"


def test_the_best_so_far_follows_the_direction(results: Results) -> None:
    axis = results.front.axes[0]
    points = list(points_of(results.study, results.front.axes, results.trials).values())
    best, dots = by_trial_plot(points, axis)["traces"]
    assert dots["x"] == list(range(12))
    assert dots["y"] == [trial.value("accuracy") for trial in results.trials]
    assert best["y"] == [max(dots["y"][: place + 1]) for place in range(12)]


def test_trials_that_ran_at_the_same_time_are_in_different_lanes(results: Results) -> None:
    spans = timeline(results.trials)
    assert len(spans) == 12
    for lane in {span.lane for span in spans}:
        row = [span for span in spans if span.lane == lane]
        assert all(one.ended <= two.begun for one, two in pairwise(row))
    traces = timeline_plot(results.trials, results.study.created)["traces"]
    assert sorted(number for trace in traces for number in trace["customdata"]) == list(range(12))


def test_what_is_left_takes_as_long_as_the_last_trials_did(results: Results) -> None:
    ends = [span.ended for trial in results.trials if (span := span_of(trial))]
    each = (max(ends) - min(ends)).total_seconds() / 11
    left = seconds_left(results.trials, 10)
    assert left == pytest.approx(10 * each, rel=1e-4)
    assert seconds_left(results.trials, 0) is None
    assert seconds_left(results.trials[:2], 10) is None


def test_times_are_in_units_of_small_numbers() -> None:
    found = [unit_of(seconds)[1] for seconds in (0, 100, 600, 20_000, 10**6)]
    assert found == ["seconds", "seconds", "minutes", "hours", "days"]


def test_lines_through_the_groups_end_at_the_objective(results: Results) -> None:
    sites, axis = results.study.context.sites, results.front.axes[0]
    front = {trial.number for trial in results.front.members}
    traces = groups_plot(results.finished, sites, axis, front)["traces"]
    assert len(traces) == 12
    ends = {trace["customdata"][0]: trace["y"][-1] for trace in traces}
    best = max(results.finished, key=lambda trial: trial.value("accuracy") or 0)
    assert (min(ends.values()), max(ends.values())) == (0.0, 1.0)
    assert ends[best.number] == 1.0
    assert saved_of(SharingPlan(), sites) == 0.0
    assert {trace["customdata"][0] for trace in traces[-len(front) :]} == front


def test_the_export_to_optuna_has_the_times_of_the_trials(results: Results) -> None:
    for trial, copy in zip(
        results.trials, frozen_trials(results.study, results.trials), strict=True
    ):
        span = span_of(trial)
        assert span is not None
        assert copy.datetime_start is not None
        assert copy.datetime_complete is not None
        assert copy.datetime_complete.timestamp() == pytest.approx(span.ended.timestamp())
        assert copy.datetime_complete - copy.datetime_start == span.ended - span.begun


def test_sharing_is_believed_to_cost_what_it_costs(tmp_path: Path) -> None:
    """The fake evaluator takes 0.03 for each site but one of a bank: 0.12 for all five."""
    settings = settings_of(tmp_path)
    searched(settings, trials=30)
    with client_of(settings) as client:
        found = client.get(f"{V1}/studies/study/importance").json()
        (row,) = found["rows"]
        assert row["method"] == "kernel"
        assert row["group"].endswith("(5 sites)")
        assert row["mean"] == pytest.approx(-0.12, abs=0.04)
        assert 0 < row["std"] < 0.1
        assert found["effects"]["traces"][0]["x"] == [row["mean"]]
        assert found["optuna"] == {} or sum(found["optuna"].values()) == pytest.approx(1)
        figure = client.get(f"{V1}/studies/study/figure")
        front = client.get(f"{V1}/studies/study").json()
        rings = [t for t in figure.json()["front"]["traces"] if t["name"] == "knee"]
        assert rings[0]["x"] == [front["best"]["values"]["parameters"]]


def test_methods_of_one_group_stand_beside_each_other(results: Results) -> None:
    rows = [("8→8 3x3 (4 sites)", method, -0.1, 0.02) for method in ("kernel", "anchored")]
    plot = effects_plot(rows, results.front.axes[0])
    assert plot["y"]["beside_each_other"]
    assert [one["offsetgroup"] for one in plot["traces"]] == ["kernel", "anchored"]


def test_what_a_table_has_answered_ran_at_no_time(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    searched(settings)
    searched(settings, "answered", driver="simulate", table="sharebench-digits")
    with client_of(settings) as client:
        assert "Who ran when" in client.get("/studies/study").text
        assert "Who ran when" not in client.get("/studies/answered").text


def test_a_plan_says_what_a_device_holds_where_that_was_counted(tmp_path: Path) -> None:
    settings, space = settings_of(tmp_path), space_with_costs(5)
    store = WatchedStore(settings.storage)
    config = make_config({"trials": 3, "replicates": 1, "sampler": "random"})
    study = create_named_study(store, "counted", space, config)
    run_inline(engine_for(store, study, config, space), FakeEvaluator())
    plan = store.trials("counted")[1].plan
    store.close()
    searched(settings)
    with client_of(settings) as client:
        held = client.get(f"{V1}/studies/counted/trials/1").json()["device_bytes"]
        assert held == {target: space.device_bytes(plan, target) for target in ("float32", "int8")}
        assert f"{held['int8']:,.0f} in int8" in client.get("/studies/counted/trials/1").text
        assert client.get(f"{V1}/studies/study/trials/1").json()["device_bytes"] == {}
        assert "On a device" not in client.get("/studies/study/trials/1").text


def test_too_few_trials_say_nothing(results: Results) -> None:
    few = Results(
        results.study, results.outcomes[:3], results.finished[:3], results.front, lambda _: []
    )
    assert effects(few) == []
    assert importances(few) == {}
    assert knee(results.front) in results.front.members


def test_the_figure_is_packed_and_sent_only_when_it_has_changed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    searched(settings)
    with client_of(settings) as client:
        first = client.get(f"{V1}/studies/study/figure")
        assert first.headers["content-encoding"] == "gzip"
        assert set(first.json()) >= {"front", "history", "by_trial", "timeline", "groups"}
        tag = {"If-None-Match": first.headers["etag"]}
        again = client.get(f"{V1}/studies/study/figure", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        plain = client.get(f"{V1}/studies/study/figure", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.json() == first.json()
        client.put(f"{V1}/studies/study/note", json={"text": "changed"})
        assert client.get(f"{V1}/studies/study/figure", headers=tag).status_code == 200


def test_several_studies_are_compared_in_one_picture(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for name in ("a", "b", "c"):
        searched(settings, name, trials=4)
    with client_of(settings) as client:
        found = client.get(f"{V1}/compare", params={"a": "a", "b": "b", "also": ["c"]}).json()
        shown = [trace["name"] for trace in found["front"]["traces"] if trace.get("customdata")]
        assert shown == ["a", "b", "c"]
        colors = {trace["line"]["color"] for trace in found["front"]["traces"] if "line" in trace}
        assert len(colors) == 3
        assert client.get("/compare?a=a&b=b&also=c").status_code == 200


def test_who_waits_for_one_answer_gets_another_at_once(results: Results) -> None:
    history = history_of(results.study, results.front.axes, results.finished)
    snapshot = Snapshot(1, results, {}, history, {})
    begun, let_go, made = threading.Event(), threading.Event(), list[str]()

    def slow() -> str:
        begun.set()
        made.append("slow")
        assert let_go.wait(60)
        return "slow"

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(snapshot.remembered, "slow", slow) for _ in range(2)]
        assert begun.wait(60)
        assert snapshot.remembered("fast", lambda: "fast") == "fast"
        let_go.set()
        assert [one.result() for one in both] == ["slow", "slow"]
    assert made == ["slow"]
