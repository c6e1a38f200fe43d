"""What a trained network says of plans before a search measures the first one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isoshare import SearchSpace
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.search.cli import session
from isoshare.search.config import ConfigError, SearchConfig, load_config, make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.proposals.foresight import SOLVED
from isoshare.search.samplers import sampler_row
from isoshare.search.samplers.score_prior import ENOUGH, ScorePrior, rank_correlation
from isoshare.search.samplers.surrogate import Surrogate
from isoshare.search.workflows.launch import prepare, prepare_resume, start
from isoshare.search.workflows.preparation import foresight
from isoshare.search.workflows.preparation.foresight import STARTS, foresight_of, with_scores
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.space.backbones import build_backbone
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_study, space_with_costs
from tests.test_solve import drawn

METHODS = ("kernel", "anchored")


def configured(trials: int = 16, **options: object) -> SearchConfig:
    return make_config({"trials": trials, "replicates": 1, "workers": 1, **options})


def foreseen(store: Store, space: SearchSpace, config: SearchConfig) -> StudyRecord:
    """A stored study that keeps scores."""
    study = create_study(store, space, config)
    scores = drawn(space).document()
    store.change_study(study.name, {}, {"scores": scores})
    return store.study(study.name)


def engine_of(store: Store, study: StudyRecord, config: SearchConfig, space: SearchSpace) -> Engine:
    make = sampler_row(config.sampler).make
    return Engine(store, study, config, space, make, None, foresight_of(study, space))


def searched(space: SearchSpace, config: SearchConfig) -> list[tuple[str, str]]:
    """Origin and fingerprint of each trial of one search."""
    store = Store("sqlite://")
    run_inline(engine_of(store, foreseen(store, space, config), config, space), FakeEvaluator())
    return [(trial.origin, trial.plan.fingerprint) for trial in store.trials("study")]


def test_plans_that_are_foreseen_on_the_front_are_measured_first() -> None:
    space = space_with_costs(6, METHODS)
    origins = [origin for origin, _ in searched(space, configured())]
    solved = origins.count(SOLVED)
    assert origins[:2] == ["unshared", "fully shared"]
    assert 0 < solved <= STARTS
    assert origins[2 : 2 + solved] == [SOLVED] * solved
    assert "sampler" in origins
    assert not any(origin.startswith("start: ") for origin in origins)


def test_methods_that_are_not_foreseen_on_the_front_get_their_turn_later() -> None:
    space = space_with_costs(6, ("kernel", "anchored", "low_rank"))
    origins = [origin for origin, _ in searched(space, configured(24))]
    late = {place: origin for place, origin in enumerate(origins) if origin.startswith("start: ")}
    assert late == {20: "start: low_rank"}, "the sampler has found the plan of the other one"


def test_a_search_that_is_interrupted_proposes_the_same_plans() -> None:
    space = space_with_costs(6, METHODS)
    whole = searched(space, configured())
    store, short = Store("sqlite://"), configured(9)
    run_inline(engine_of(store, foreseen(store, space, short), short, space), FakeEvaluator())
    again = engine_of(store, store.study("study"), configured(), space)
    run_inline(again, FakeEvaluator())
    assert [(one.origin, one.plan.fingerprint) for one in store.trials("study")] == whole


def test_foreseen_plans_keep_the_constraints() -> None:
    space = space_with_costs(6, METHODS)
    most = space.unshared * 3 // 4
    config = configured(max_parameters=most)
    store = Store("sqlite://")
    foresight = foresight_of(foreseen(store, space, config), space)
    assert foresight is not None
    assert foresight.starts
    assert all(space.trainable_parameters(plan) <= most for plan in foresight.starts)
    assert foresight_of(create_study(Store("sqlite://"), space, config), space) is None


def test_scores_that_mislead_soon_count_for_nothing() -> None:
    space = space_with_costs(5)
    prior = ScorePrior(drawn(space))
    plans = list(islice(space.plans(), 40))
    foreseen_values = prior(plans)
    assert prior(plans) is not foreseen_values
    agreed = prior.slope(foreseen_values[:10], 2 * foreseen_values[:10])
    assert agreed == pytest.approx(2 * 0.75), "half believed, half seen, at ten plans"
    assert prior.slope(foreseen_values[:10], -foreseen_values[:10]) == 0
    assert 0 < prior.slope(foreseen_values[:4], -foreseen_values[:4]) < agreed
    told = foreseen_values[:ENOUGH]
    assert prior.slope(told, told) > 0, "for as long as they agree"
    assert prior.slope(told, np.where(np.arange(ENOUGH) % 4, told, told.mean())) == 0
    assert prior.slope(np.ones(8), foreseen_values[:8]) == 0
    assert rank_correlation(np.arange(5.0), np.ones(5)) == 0


def test_the_prior_mean_is_believed_where_nothing_else_is_known() -> None:
    rng = np.random.default_rng(0)
    foreseen_values = rng.normal(size=30)
    features = np.column_stack([rng.normal(size=(30, 3)), foreseen_values])
    means = 0.8 + 0.02 * foreseen_values
    some, weights = slice(0, 6), np.array([1.0, 1.0, 1.0, 1e-9])
    told = (features[some], weights, means[some], np.ones(6), (0.0, 0.0))
    with_it, without = Surrogate(*told, 0.02), Surrogate(*told)
    assert np.allclose(with_it.predict(features).mean, means, atol=1e-6)
    assert rank_correlation(without.predict(features).mean[6:], means[6:]) < 0.9
    samples = with_it.sample(features, 200, np.random.default_rng(1))
    assert np.abs(samples.mean(0) - means).max() < 0.01


def test_a_search_with_trained_weights_keeps_their_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    arguments = {"depth": 8, "width": 4, "in_channels": 1, "classes": 10}
    torch.save(build_backbone("resnet_cifar", arguments).state_dict(), tmp_path / "w.pt")
    options = {
        **{"backbone": "resnet_cifar", "backbone_arg": {"depth": 8, "width": 4}, "epochs": 0},
        **{"dataset": "digits", "weights": str(tmp_path / "w.pt"), "solve_first": True},
        **{"trials": 6, "workers": 1, "methods": ("kernel", "anchored"), "study": "s"},
    }
    store = Store("sqlite://")
    prepared = prepare(make_config(options), store)
    prepared.evaluator.prepare()
    scored = with_scores(prepared)
    again = "isoshare.search.workflows.preparation.kept_scores.scores_on"
    monkeypatch.setattr(again, lambda *_: pytest.fail("measured again"))
    prepared = with_scores(prepared)
    assert prepared.study.context.scores == scored.study.context.scores
    engine = start(prepared, store)
    run_inline(engine, prepared.evaluator)
    kept = store.study("s").context.scores
    assert kept is not None
    assert PlanScores.of(kept).document() == prepared.study.context.scores
    assert SOLVED in [trial.origin for trial in store.trials("s")]
    scratch = replace(prepared, evaluator=FakeEvaluator())
    assert with_scores(scratch) is scratch


def test_scores_that_an_interruption_prevented_are_made_when_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    arguments = {"depth": 14, "width": 4, "in_channels": 1, "classes": 10}
    torch.save(build_backbone("resnet_cifar", arguments).state_dict(), tmp_path / "w.pt")
    options = {
        **{"backbone": "resnet_cifar", "backbone_arg": {"depth": 14, "width": 4}, "epochs": 0},
        **{"dataset": "digits", "weights": str(tmp_path / "w.pt"), "methods": ("kernel",)},
        **{"trials": 5, "study": "s", "out": str(tmp_path)},
    }
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    prepared = prepare(make_config(options), store)
    assert prepared.config.solve_first

    def runs_inline(prepared: Prepared, *_: object) -> Callable[..., object]:
        prepared.evaluator.prepare()
        return lambda engine, measure, _: run_inline(engine, measure)

    def interrupted(*_: object) -> Prepared:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "_driver", runs_inline)
    with monkeypatch.context() as patch:
        patch.setattr(foresight, "with_scores", interrupted)
        with pytest.raises(SystemExit):
            session.search_on_terminal(prepared, store)
    assert "go on with" in capsys.readouterr().err
    assert store.study("s").context.scores is None
    session.search_on_terminal(prepare_resume("s", store, {}), store)
    kept = store.study("s").context.scores
    assert kept is not None
    assert SOLVED in [trial.origin for trial in store.trials("s")]
    session.search_on_terminal(prepare_resume("s", store, {"trials": 6}), store)
    assert store.study("s").context.scores == kept
    assert len(store.trials("s")) == 6


@pytest.mark.parametrize("options", [{}, {"evaluator": "spiking"}, {"table": "sharebench-digits"}])
def test_there_must_be_a_trained_network_to_foresee_anything(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--solve-first scores the trained network"):
        load_config(None, {**options, "solve_first": True})


def test_several_networks_foresee_nothing() -> None:
    with pytest.raises(ConfigError, match="--solve-first scores one network, and --vary"):
        load_config(None, {"evaluator": "inherit", "solve_first": True, "vary": {"width": (4, 8)}})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weights": "w.pt"}, True),
        ({"backbone": "resnet18", "pretrained": True}, True),
        ({"weights": "w.pt", "solve_first": False}, False),
        ({"weights": "w.pt", "new_head": True}, False),
        ({"weights": "w.pt", "vary": {"width": (4, 8)}}, False),
        ({"evaluator": "inherit"}, False),
        ({}, False),
    ],
)
def test_a_trained_network_that_is_given_is_asked(options: dict[str, Any], expected: bool) -> None:
    assert load_config(None, options).solve_first is expected
