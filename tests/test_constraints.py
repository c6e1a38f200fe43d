"""Constraints: exact ones are never broken, measured ones keep a plan off the front."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.constraints import (
    CONSTRAINTS,
    check_possible,
    exact_limits,
    fits,
    limits_of,
    measured_limits,
    violations,
)
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.proposals import proposer
from isoshare.search.results.choose import choose
from isoshare.search.results.pictures.drawing import write_png
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.front_page import write_html
from isoshare.search.results.study_results import excluded_in_words, load_results
from isoshare.search.results.summary import why_empty
from isoshare.search.results.tables import front_json, front_table
from isoshare.search.samplers import SAMPLERS
from isoshare.search.samplers.optuna_sampler import OPTUNA_SAMPLERS, OptunaSampler
from isoshare.space.errors import IsoshareError
from isoshare.space.methods import METHODS
from isoshare.space.search_space import SearchSpace
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_study, engine_for, space_with_costs


def engine_of(store: Store, space: SearchSpace, **options: Any) -> Engine:
    config = make_config({"trials": 12, "replicates": 2, "workers": 1, **options})
    known = [summary.name for summary in store.studies()]
    study = store.study("study") if known else create_study(store, space, config)
    return engine_for(store, study, config, space)


def test_every_constraint_is_an_option_about_an_objective() -> None:
    assert set(CONSTRAINTS) <= set(SearchConfig.model_fields)
    assert {objective for objective, _ in CONSTRAINTS.values()} <= set(OBJECTIVES)
    bounded = {name for name in SearchConfig.model_fields if name.startswith(("max_", "min_"))}
    assert bounded == set(CONSTRAINTS)
    options = {"max_macs": 5, "min_accuracy": 0.5, "max_bytes": None}
    assert [limit.flag for limit in exact_limits(options)] == ["--max-macs 5"]
    assert [limit.flag for limit in measured_limits(options)] == ["--min-accuracy 0.5"]


@pytest.mark.parametrize("option", ["max_parameters", "max_macs", "max_bytes"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_plan_beyond_an_exact_limit_is_never_measured(
    store: Store, option: str, sampler: str
) -> None:
    space = space_with_costs(4, tuple(METHODS))
    objective = CONSTRAINTS[option][0]
    cost = OBJECTIVES[objective].exact
    assert cost is not None
    sizes = sorted(cost(space, plan) for plan in space.plans())
    limit = int(sizes[len(sizes) // 2])
    engine = engine_of(store, space, sampler=sampler, **{option: limit})
    run_inline(engine, FakeEvaluator())
    found = [trial.exact[objective] for trial in store.trials("study")]
    assert len(found) == 12
    assert max(found) <= limit


def test_all_plans_within_tight_limits_are_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the space is too large to be listed, so that the walk has to find them."""
    monkeypatch.setattr(proposer, "WALK", 100)
    space = space_with_costs(5, ("kernel", "filter_basis"))
    options = {"max_macs": space.macs(space.unshared_plan()) * 2 // 3, "max_parameters": 150}
    limits = limits_of(options)
    expected = {plan.fingerprint for plan in space.plans() if fits(limits, space, plan)}
    assert 3 < len(expected) < proposer.WALK < space.count()
    run_inline(engine_of(store, space, trials=1000, **options), FakeEvaluator())
    assert {trial.plan.fingerprint for trial in store.trials("study")} == expected


@pytest.mark.parametrize("option", ["max_parameters", "max_macs", "max_bytes"])
def test_an_impossible_limit_is_refused_with_the_least_there_is(option: str) -> None:
    space = space_with_costs(4, tuple(METHODS))
    objective = CONSTRAINTS[option][0]
    cost = OBJECTIVES[objective].exact
    assert cost is not None
    least = int(min(cost(space, plan) for plan in space.plans()))
    check_possible(limits_of({option: least}), space)
    says = f"at most {least - 1:,} {objective}: the smallest has {least:,}; raise --max-"
    with pytest.raises(IsoshareError, match=says):
        check_possible(limits_of({option: least - 1}), space)


def test_limits_that_exclude_each_other_are_refused() -> None:
    space = space_with_costs(4, ("kernel", "filter_basis"))
    least = [min(cost(plan) for plan in space.plans()) for cost in (space.macs, space.stored_bytes)]
    options = dict(zip(("max_macs", "max_bytes"), least, strict=True))
    assert not any(fits(limits_of(options), space, plan) for plan in space.plans())
    with pytest.raises(IsoshareError, match=r"keeps --max-macs .* and --max-bytes .* nearest"):
        check_possible(limits_of(options), space)


def test_inaccurate_plans_are_kept_but_off_the_front(store: Store, tmp_path: Path) -> None:
    engine = engine_of(store, space_with_costs(5), trials=20, min_accuracy=0.82)
    measure = FakeEvaluator()
    run_inline(engine, measure)
    results = load_results(store, "study")
    assert len(results.finished) == 20
    members = [trial.number for trial in results.front.members]
    assert members == [trial.number for trial in engine.search_state.front.members]
    excluded = {trial.number for trial in results.front.excluded}
    for trial in results.finished:
        value = trial.value("accuracy")
        assert value is not None
        assert (trial.number in excluded) == (value < 0.82)
    assert 0 < len(excluded) < 20
    tested = {name for name, _, split in measure.measured if split == "test"}
    assert tested == {trial.plan.fingerprint for trial in results.front.members}
    assert front_json(results)["excluded"] == len(excluded)
    words = f"{len(excluded)} of 20 plans break --min-accuracy 0.82, the nearest has 0.8"
    assert (excluded_in_words(results) or "").startswith(words)
    assert front_table(results).caption == excluded_in_words(results)
    figure = front_figure(results)
    assert len(figure.excluded) == len(excluded)
    assert len(figure.others) + len(figure.members) == 20 - len(excluded)
    write_html(figure, tmp_path / "front.html")
    write_png(figure, tmp_path / "front.png")
    assert "plans beyond a limit" in (tmp_path / "front.html").read_text()


def test_a_search_none_of_whose_plans_is_accurate_enough_says_so(store: Store) -> None:
    run_inline(engine_of(store, space_with_costs(4), min_accuracy=1.0), FakeEvaluator())
    results = load_results(store, "study")
    assert results.front.members == ()
    assert results.front.hypervolume == 0
    says = r"12 of 12 plans break --min-accuracy 1.0, the nearest has 0\.9.*--epochs"
    with pytest.raises(IsoshareError, match="none of the 12 finished trials keeps the limits"):
        choose(results.front)
    assert re.search(says, why_empty(results))


@pytest.mark.parametrize("sampler", OPTUNA_SAMPLERS)
def test_the_sampler_knows_the_same_constraints_before_and_after_an_interruption(
    tmp_path: Path, sampler: str
) -> None:
    runs, constraints = [], []
    options = {"trials": 16, "min_accuracy": 0.82, "sampler": sampler}
    for name, stops in (("whole", [1000]), ("parts", [7, 1, 6, 1000])):
        store = Store(f"sqlite:///{tmp_path / name}.db")
        for stop in stops:
            engine = engine_of(store, space_with_costs(6), **options)
            _run(engine, stop)
        runs.append([trial.plan.fingerprint for trial in store.trials("study")])
        sampler_there = engine._sampling._sampler
        assert isinstance(sampler_there, OptunaSampler)
        told = [one for one in sampler_there._study.trials if one.state.name == "COMPLETE"]
        constraints.append([trial.constraints for trial in told])
        store.close()
    assert runs[0] == runs[1]
    assert constraints[0] == constraints[1]
    assert len(constraints[0]) == 16
    assert any(row["min_accuracy"] > 0 for row in constraints[0])
    assert any(row["min_accuracy"] <= 0 for row in constraints[0])


def _run(engine: Engine, jobs: int) -> None:
    for _ in range(jobs):
        if (job := engine.ask()) is None:
            return
        for measured in FakeEvaluator()(job.plan, job.seeds, job.split):
            engine.tell(job.number, measured)


def test_a_trial_without_the_bounded_value_breaks_the_limit(store: Store) -> None:
    engine = engine_of(store, space_with_costs(3), trials=3, min_accuracy=0.1)
    trial = store.trials("study")
    assert trial == []
    job = engine.ask()
    assert job is not None
    limits = limits_of({"min_accuracy": 0.1})
    assert violations(limits, store.trials("study")[0]) == {"min_accuracy": math.inf}
