"""Rungs and repeats: who goes on, who is stopped, who is measured again."""

from __future__ import annotations

import pytest

from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.trials.successive_halving import SuccessiveHalving
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine


def test_the_best_third_goes_on_and_who_comes_to_belong_to_it_is_recalled() -> None:
    halving = SuccessiveHalving((2, 4), 3, [0.0, 10.0])
    halving.note(0, 2, [-0.5, 5.0])
    assert halving.goes_on(0, 2), "the first one has nobody to fear"
    halving.note(1, 2, [-0.4, 6.0])
    assert not halving.goes_on(1, 2), "dominated"
    halving.note(2, 2, [-0.6, 4.0])
    assert halving.goes_on(2, 2)
    halving.note(3, 2, [-0.1, 9.0])
    assert halving.recalled([0, 1, 3]) == 0, "two of four go on now"
    halving.note(0, 4, [-0.7, 5.0])
    assert halving.recalled([1, 3]) is None


def test_within_a_rank_the_hypervolume_decides() -> None:
    halving = SuccessiveHalving((1,), 3, [0.0, 10.0])
    for number, values in enumerate(([-0.5, 5.0], [-0.51, 5.1], [-0.1, 1.0])):
        halving.note(number, 1, values)
    assert [halving.goes_on(number, 1) for number in range(3)] == [False, False, True]


def test_a_search_with_rungs_stops_some_and_trains_none_for_nothing(
    make_engine: MakeEngine, store: Store
) -> None:
    engine = make_engine(sampler="random", trials=30, rungs=(2, 5), replicates=1)
    run_inline(engine, FakeEvaluator())
    assert engine.done
    trials = store.trials("study")
    states = {trial.state for trial in trials}
    assert states == {"finished", "stopped"}
    stopped = [trial for trial in trials if trial.state == "stopped"]
    assert len(stopped) > 10
    for trial in stopped:
        epochs = [one.fidelity["epochs"] for one in trial.measurements]
        assert epochs in ([2], [2, 5])
    progress = engine.progress()
    assert (progress.finished + progress.stopped, progress.stopped) == (30, len(stopped))
    assert {trial.number for trial in engine.search_state.front.members}.isdisjoint(
        trial.number for trial in stopped
    )


@pytest.mark.parametrize("sampler", ["ehvi", "tpe"])
def test_an_interrupted_search_with_rungs_and_repeats_goes_on_as_if_nothing_had_been(
    make_engine: MakeEngine, store: Store, sampler: str
) -> None:
    options = {
        "sampler": sampler, "trials": 30, "rungs": (3,), "repeats": 0.3, "replicates": 1,
    }  # fmt: skip
    engine = make_engine(**options)
    for _ in range(17):
        if (job := engine.ask()) is None:
            break
        for measured in FakeEvaluator()(job.plan, job.seeds, job.split, job.rungs):
            if engine.tell(job.number, measured):
                break
    again = make_engine(**options)
    assert again.progress() == engine.progress()
    run_inline(again, FakeEvaluator())
    resumed = [trial.plan.fingerprint for trial in store.trials("study")]
    assert len(resumed) == len(set(resumed))
    spent = len(resumed) + again.progress().repeats
    assert spent == 30
    assert 4 <= again.progress().repeats <= 9


def test_plans_of_the_front_are_measured_again_with_seeds_of_their_own(
    make_engine: MakeEngine, store: Store
) -> None:
    engine = make_engine(sampler="random", trials=40, repeats=0.25, replicates=2)
    run_inline(engine, FakeEvaluator())
    trials = store.trials("study")
    assert len(trials) == 30
    seeds = [len(trial.samples("accuracy")) for trial in trials]
    assert sum(seeds) == 80
    front = {trial.number for trial in engine.search_state.front.members}
    of_front = [len(trial.samples("accuracy")) for trial in trials if trial.number in front]
    assert sum(of_front) / len(of_front) > sum(seeds) / len(seeds)


def test_a_repeat_that_fails_leaves_what_was_measured(make_engine: MakeEngine) -> None:
    engine = make_engine(sampler="random", trials=12, repeats=0.3, replicates=1)
    measured: set[int] = set()
    while (job := engine.ask()) is not None:
        if job.split == "validation" and job.number in measured:
            engine.fail(job.number, "the loss became nan")
            continue
        measured.add(job.number)
        for some in FakeEvaluator()(job.plan, job.seeds, job.split):
            engine.tell(job.number, some)
    assert engine.progress().failed == 0
    assert engine.progress().finished == 12


@pytest.mark.parametrize("rungs", [(0,), (3, 2), (2, 2), (15,)])
def test_rungs_that_make_no_sense_are_refused(rungs: tuple[int, ...]) -> None:
    with pytest.raises(IsoshareError, match=r"rungs must be ascending .* below --epochs 15, got"):
        make_config({"backbone": "convmixer", "rungs": rungs})
