"""Samplers of plans: the improvement is exact, beliefs are calibrated, proposals are new."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoshare.search.config import ConfigError, make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.jobs import Job
from isoshare.search.pareto import Axis, axes_of, hypervolume
from isoshare.search.proposals.sampler import History
from isoshare.search.results.hypervolume_history import history_of
from isoshare.search.results.pictures.plotly_figure import history_plot
from isoshare.search.samplers import candidates
from isoshare.search.samplers.ehvi import ParetoFront2D, hypervolumes
from isoshare.search.samplers.expected_improvement import ImprovementSampler
from isoshare.search.samplers.plan_features import PlanFeatures
from isoshare.search.samplers.posterior import Observations
from isoshare.search.samplers.surrogate import Prediction, Surrogate
from isoshare.space.methods import METHODS
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine, space_with_costs

REFERENCE = (2.0, 0.0)
COSTS = st.floats(-1, 3)
VALUES = st.floats(-0.2, 1)
POINTS = st.lists(st.tuples(COSTS, VALUES), max_size=6)


def stairs_of(points: list[tuple[float, float]]) -> ParetoFront2D:
    costs, values = np.array(points).reshape(-1, 2).T
    return ParetoFront2D.of(costs, values, REFERENCE)


def exact(points: list[tuple[float, float]]) -> float:
    """The hypervolume by a library that knows nothing of staircases."""
    minimised = np.array([(cost, -value) for cost, value in points]).reshape(-1, 2)
    return hypervolume(minimised, [REFERENCE[0], -REFERENCE[1]])


@given(POINTS)
def test_the_area_under_the_stairs_is_the_hypervolume(points: list[tuple[float, float]]) -> None:
    assert stairs_of(points).hypervolume == pytest.approx(exact(points), abs=1e-9)
    values = np.array([[value for _, value in points]])
    costs = np.array([cost for cost, _ in points])
    assert hypervolumes(costs, values, REFERENCE)[0] == pytest.approx(exact(points), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(POINTS, COSTS, VALUES, st.floats(0.01, 0.5))
def test_the_expected_improvement_is_the_mean_over_all_values(
    points: list[tuple[float, float]], cost: float, mean: float, std: float
) -> None:
    z = np.linspace(-8, 8, 3001)  # beyond it lies 1e-15 of a normal distribution
    weights = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    before = exact(points)
    gains = [exact([*points, (cost, mean + std * one)]) - before for one in z]
    expected = stairs_of(points).expected_improvement(
        np.array([cost]), np.array([mean]), np.array([std])
    )[0]
    assert expected == pytest.approx(float(weights @ gains), abs=2e-5)


@pytest.mark.parametrize(("measured", "chosen"), [(1, "larger"), (6, "smaller")])
def test_where_many_may_be_good_there_is_less_to_gain(
    monkeypatch: pytest.MonkeyPatch, measured: int, chosen: str
) -> None:
    """The larger size counts more, but of many plans of it one most likely is good already."""
    space = space_with_costs(4)
    axes = [Axis("accuracy", "maximize", 0.0), Axis("parameters", "minimize", math.exp(5))]
    sampler = ImprovementSampler(History(space, axes, (), {}, lambda plan: True))
    costs, mean = np.array([1.0] + [2.0] * measured), np.array([0.75] + [0.8] * measured)
    plan: Any = None
    known = Observations([plan] * len(mean), costs, Prediction(mean, 0.05 + 0 * mean), [], plan)
    new = np.array([1.0, 2.0]), Prediction(np.array([0.75, 0.8]), np.array([0.05, 0.05]))
    sizes: Any = ["smaller", "larger"]
    beliefs = SimpleNamespace(evidence=lambda: known, of=lambda *_: new)
    monkeypatch.setattr(sampler, "_beliefs", beliefs)
    monkeypatch.setattr(sampler, "_candidates", lambda *_: sizes)
    assert {str(sampler.propose(number)) for number in range(12, 20)} == {chosen}


def test_beliefs_are_right_and_as_sure_as_they_may_be() -> None:
    numbers = np.random.default_rng(1)
    features = numbers.standard_normal((400, 10))
    truth = 0.8 + features @ numbers.standard_normal(10) * 0.02
    measured = truth + numbers.standard_normal(400) * 0.03
    known = Surrogate(features[:100], np.ones(10), measured[:100], np.ones(100), (0.03**2, 1000.0))
    belief = known.predict(features[100:])
    assert np.corrcoef(belief.mean, truth[100:])[0, 1] > 0.97
    assert np.mean(abs(belief.mean - truth[100:]) < 2 * belief.std) > 0.9
    assert known.seed_noise == pytest.approx(0.03**2, rel=0.1)
    sample = known.sample(features[100:], 500, numbers)
    assert sample.mean(axis=0) == pytest.approx(belief.mean, abs=5e-3)
    assert sample.std(axis=0) == pytest.approx(belief.std, rel=0.3)
    condition = known.condition(features[:2], np.array([0.5, 0.5]), np.array([1.0, 400.0]))
    assert abs(condition.mean[1] - 0.5) < abs(condition.mean[0] - 0.5), (
        "many seeds are believed more"
    )
    assert condition.std[1] < condition.std[0] < known.predict(features[:1]).std[0]


def test_features_tell_plans_apart_and_see_who_shares() -> None:
    space = space_with_costs(4, tuple(METHODS))
    features = PlanFeatures(space)
    plans = list(space.plans())
    rows = features(plans)
    assert len({row.tobytes() for row in rows}) == len(plans)
    assert features.weights.shape == (rows.shape[1],)
    assert not features([space.unshared_plan()])[:, 1:].any()


def test_crossings_and_candidates_are_plans_of_the_space(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_with_costs(5, tuple(METHODS))
    rng = random.Random(0)
    for _ in range(50):
        one, other = space.random_plan(rng), space.random_plan(rng)
        assert space.crossing(one, other, rng) in space
    monkeypatch.setattr(candidates, "SMALL", 0)  # as in a space too large to be listed
    engine, measure = make_engine(sampler="ehvi", trials=20), FakeEvaluator()
    run_inline(engine, measure)
    origins = [trial.origin for trial in engine.search_state.trials.values()]
    assert origins.count("sampler") >= 10
    assert engine.progress().remaining is None


def test_the_default_sampler_finds_the_front_of_a_space_it_can_learn(
    make_engine: MakeEngine,
) -> None:
    """It finds plans that are as accurate as they are small, and says what is left."""
    engine = make_engine(sampler="ehvi", trials=30)
    run_inline(engine, FakeEvaluator())
    remaining = engine.progress().remaining
    assert remaining is not None
    assert 0 <= remaining < 0.1


def test_a_search_ends_when_little_is_left_to_gain(make_engine: MakeEngine) -> None:
    engine = make_engine(sampler="ehvi", trials=50, stop_at=0.2)
    run_inline(engine, FakeEvaluator())
    assert engine.done
    assert engine.budget < 50
    assert (engine.progress().remaining or 0) < 0.2


def test_objectives_that_the_default_sampler_cannot_trade_go_to_another() -> None:
    assert make_config({}).sampler == "ehvi"
    assert make_config({"objectives": ("accuracy", "macs")}).sampler == "ehvi"
    three = ("accuracy", "parameters", "macs")
    assert make_config({"objectives": three}).sampler == "ehvi"
    assert make_config({"objectives": (*three, "bytes")}).sampler == "tpe"
    assert make_config({"objectives": ("accuracy", "latency")}).sampler == "tpe"


@pytest.mark.parametrize("sampler", ["ehvi", "local", "random"])
def test_no_equivalent_plan_is_proposed_twice_by_eight_workers(
    make_engine: MakeEngine, sampler: str
) -> None:
    engine = make_engine(sampler=sampler, trials=50, replicates=1)
    running: list[Job] = []
    measure = FakeEvaluator()
    while True:
        while len(running) < 8 and (job := engine.ask()) is not None:
            running.append(job)
        if not running:
            break
        job = running.pop(0)
        for measured in measure(job.plan, job.seeds, job.split):
            engine.tell(job.number, measured)
    proposed = [name for name, _, split in measure.measured if split == "validation"]
    assert len(proposed) == len(set(proposed)) == 50


@pytest.mark.parametrize(
    "objectives", [("accuracy", "parameters", "macs", "bytes"), ("a:max", "b:min")]
)
def test_a_sampler_is_refused_for_objectives_it_cannot_trade(objectives: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"sampler ehvi trades one .* got a.*take --sampler tpe"):
        make_config({"sampler": "ehvi", "objectives": objectives, "evaluator": "mine:measure"})


def test_what_is_left_to_gain_is_kept_and_drawn(make_engine: MakeEngine, store: Store) -> None:
    run_inline(make_engine(sampler="ehvi", trials=30), FakeEvaluator())
    study, trials = store.study("study"), store.trials("study")
    history = history_of(study, axes_of(study), trials)
    told = [moment.remaining for moment in history.moments if moment.remaining is not None]
    assert told
    assert all(0 <= share < 5 for share in told)
    plot = history_plot(history)
    assert [trace.get("yaxis", "y") for trace in plot["traces"]] == ["y2", "y"]
    assert "y2" not in history_plot(history_of(study, axes_of(study), trials[:2]))
