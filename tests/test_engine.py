"""The engine: exact budgets, no plan twice, the same search again after any interruption."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import ATTEMPTS, Engine
from isoshare.search.jobs import Job
from isoshare.search.samplers import SAMPLERS
from isoshare.search.samplers.optuna_sampler import OptunaSampler
from isoshare.search.search_state import SearchState
from isoshare.search.workflows.launch import start
from isoshare.search.workflows.preparation.prepared import Prepared, study_record
from isoshare.storage.opening.database import StoreError
from isoshare.storage.records import MeasurementRecord, TrialRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord
from tests.fakes import FakeEvaluator, MakeEngine, create_study, engine_for, space_of


def proposals(store: Store) -> list[tuple[str, str]]:
    return [(trial.plan.fingerprint, trial.origin) for trial in store.trials("study")]


def finish(engine: Engine, job: Job) -> None:
    """Do a job as a driver does."""
    for measured in FakeEvaluator()(job.plan, job.seeds, job.split):
        engine.tell(job.number, measured)


def ask(engine: Engine) -> Job:
    job = engine.ask()
    assert job is not None
    return job


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_whole_search_measures_distinct_plans_and_tests_the_front(
    make_engine: MakeEngine, store: Store, sampler: str
) -> None:
    engine, measure = make_engine(sampler=sampler, trials=16), FakeEvaluator()
    run_inline(engine, measure)
    assert engine.done
    trials = store.trials("study")
    assert len(trials) == len({trial.plan.fingerprint for trial in trials}) == 16
    assert {trial.state for trial in trials} == {"finished"}
    assert [trial.origin for trial in trials[:2]] == ["unshared", "fully shared"]
    assert max(Counter(measure.measured).values()) == 1
    tested = {name for name, _, split in measure.measured if split == "test"}
    assert tested == {trial.plan.fingerprint for trial in engine.search_state.front.members}
    numbers = {trial.number for trial in trials if trial.samples("accuracy", "test")}
    assert numbers == {trial.number for trial in engine.search_state.front.members}


def test_the_test_images_are_not_touched_before_the_search_has_ended(
    make_engine: MakeEngine,
) -> None:
    measure = FakeEvaluator()
    run_inline(make_engine(), measure)
    splits = [split for _, _, split in measure.measured]
    assert splits.index("test") == splits.count("validation") == 12 * 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_proposes_the_same_plans_another_seed_others(
    tmp_path: Any, sampler: str
) -> None:
    runs = []
    for place, seed in enumerate((0, 0, 1)):
        store = Store(f"sqlite:///{tmp_path / str(place)}.db")
        run_inline(_engine(store, sampler=sampler, seed=seed, trials=16), FakeEvaluator())
        runs.append(proposals(store))
    assert runs[0] == runs[1] != runs[2]


def _engine(store: Store, **options: Any) -> Engine:
    space = space_of(5)
    config = make_config({"replicates": 2, "workers": 1, **options})
    return engine_for(store, create_study(store, space, config), config, space)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_interrupted_anywhere_goes_on_as_if_it_had_not_been(
    tmp_path: Any, make_engine: MakeEngine, store: Store, sampler: str
) -> None:
    whole = Store(f"sqlite:///{tmp_path / 'whole.db'}")
    run_inline(_engine(whole, sampler=sampler, trials=16), FakeEvaluator())
    measured: list[tuple[str, int, Any]] = []
    for steps in (1, 3, 0, 6, 2, 100):
        engine = make_engine(sampler=sampler, trials=16)
        for _ in range(steps):
            if (job := engine.ask()) is None:
                break
            finish(engine, job)
            measured += [(job.plan.fingerprint, seed, job.split) for seed in job.seeds]
        if not engine.done:  # and then in the middle of a trial, after one seed of two
            lost = ask(engine)
            if len(lost.seeds) > 1:
                one = next(FakeEvaluator()(lost.plan, lost.seeds, lost.split))
                assert not engine.tell(lost.number, one)
                measured.append((lost.plan.fingerprint, one[0].seed, lost.split))
    assert engine.done
    assert proposals(store) == proposals(whole)
    assert max(Counter(measured).values()) == 1
    assert _values(store) == _values(whole)


def _values(store: Store) -> list[Any]:
    return [
        sorted((m.split, m.seed, m.values["accuracy"]) for m in trial.measurements)
        for trial in store.trials("study")
    ]


def test_running_trials_are_run_again_first(make_engine: MakeEngine, store: Store) -> None:
    engine = make_engine()
    jobs = [ask(engine) for _ in range(3)]
    finish(engine, jobs[1])
    resumed = make_engine()
    assert [ask(resumed).number for _ in range(3)] == [0, 2, 3]
    assert [trial.attempts for trial in store.trials("study")] == [2, 1, 2, 1]


def test_failed_plans_count_and_are_not_tried_again(make_engine: MakeEngine, store: Store) -> None:
    broken = space_of(5).fully_shared_plan().fingerprint
    measure = FakeEvaluator(broken={broken})
    run_inline(make_engine(), measure)
    states = Counter(trial.state for trial in store.trials("study"))
    assert states == {"finished": 11, "failed": 1}
    assert store.trials("study")[1].error == "EvaluationError: the loss became nan in epoch 1"
    assert sum(name == broken for name, _, _ in measure.measured) == 1
    assert make_engine().done


def test_a_plan_that_kills_its_workers_fails_in_the_end(
    make_engine: MakeEngine, store: Store
) -> None:
    engine = make_engine()
    job = ask(engine)
    deaths = 1
    while engine.worker_died(job.number) == job:
        deaths += 1
    assert deaths == ATTEMPTS
    assert store.trials("study")[0].error == f"its worker or its driver died {ATTEMPTS} times"
    assert ask(engine).number == 1


def test_a_lost_job_goes_on_with_the_seeds_it_had_left(make_engine: MakeEngine) -> None:
    engine = make_engine()
    job = ask(engine)
    engine.tell(job.number, [Measured(job.seeds[0], {"accuracy": 0.5}, 1.0)])
    again = engine.worker_died(job.number)
    assert again is not None
    assert again.seeds == job.seeds[1:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_smaller_than_the_budget_is_measured_whole(
    make_engine: MakeEngine, store: Store, sampler: str
) -> None:
    engine = make_engine(sites=4, trials=1000, sampler=sampler)
    run_inline(engine, FakeEvaluator())
    assert engine.done
    assert engine.budget == len(store.trials("study")) == 15


def test_plans_over_the_limit_are_never_measured(make_engine: MakeEngine, store: Store) -> None:
    limit = 18 * 2 * 3 + 30
    run_inline(make_engine(max_parameters=limit), FakeEvaluator())
    sizes = [trial.exact["parameters"] for trial in store.trials("study")]
    assert len(sizes) == 12
    assert max(sizes) == limit


def test_under_a_tight_limit_every_plan_that_fits_is_found(
    make_engine: MakeEngine, store: Store
) -> None:
    """Of the 877 plans of seven sites, 64 use at most two kernels."""
    limit = 18 * 2 * 2 + 30
    engine = make_engine(sites=7, trials=1000, max_parameters=limit)
    run_inline(engine, FakeEvaluator())
    assert engine.budget == len(store.trials("study")) == 2**6


def test_several_workers_never_get_the_same_plan(make_engine: MakeEngine) -> None:
    engine = make_engine(trials=40)
    running: list[Job] = []
    seen = []
    while not engine.done:
        while len(running) < 8 and (job := engine.ask()) is not None:
            running.append(job)
            seen.append((job.plan.fingerprint, job.split))
        finish(engine, running.pop(len(seen) % len(running)))
    assert max(Counter(seen).values()) == 1
    assert sum(split == "validation" for _, split in seen) == 40


def test_progress_follows_the_search(make_engine: MakeEngine) -> None:
    engine, seen = make_engine(), []
    engine.on_change = lambda: seen.append(engine.progress())
    run_inline(engine, FakeEvaluator())
    assert [p.finished for p in seen] == sorted(p.finished for p in seen)
    assert seen[0].running == 1
    volumes = [p.front.hypervolume for p in seen]
    assert volumes == sorted(volumes)
    last = seen[-1]
    assert (last.finished, last.running, last.tests_done) == (12, 0, last.tests)


def test_a_bigger_budget_goes_on(make_engine: MakeEngine, store: Store) -> None:
    run_inline(make_engine(trials=5), FakeEvaluator())
    run_inline(make_engine(trials=8), FakeEvaluator())
    assert len(store.trials("study")) == 8


def test_a_second_launch_under_one_name_does_not_take_over_the_first(store: Store) -> None:
    space, config = space_of(3), make_config({"trials": 3})
    study = study_record("study", config, space, DatasetRecord("fake", "0" * 16))
    prepared = Prepared(True, config, study, space, FakeEvaluator(), {})
    start(prepared, store)
    with pytest.raises(StoreError, match="exists already"):
        start(prepared, store)


def test_trials_told_in_the_words_of_an_earlier_version_are_taken_up() -> None:
    """Their plan is what counts: the sampler hears it in today's parameters."""
    space = space_of(4)
    old = TrialRecord(
        number=0,
        plan=space.fully_shared_plan(),
        origin="sampler",
        state="finished",
        exact={"parameters": 66.0},
        proposal={"params": {"a name of long ago": "x"}, "system_attrs": {}},
    )
    measured = MeasurementRecord(0, "validation", {"epochs": 15}, {"accuracy": 0.8}, 1.0)
    config = make_config({})
    search_state = SearchState(study_record("s", config, space, DatasetRecord()), config)
    search_state.fill([replace(old, measurements=(measured,))])
    sampler = OptunaSampler("tpe", search_state.history(space))
    (known,) = sampler._study.get_trials()
    assert known.params == space.parameters(old.plan)
    assert known.values == [0.8, 66.0]
