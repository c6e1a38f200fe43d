"""Whatever happens to a search, in any order: nothing is lost, nothing counts twice.

A state machine asks, tells, stops at rungs, takes up again, repeats, fails, loses workers, kills
the driver, resumes and is taken over by another one; after each step the database is compared with
what was told.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import ATTEMPTS
from isoshare.search.jobs import Job
from isoshare.search.samplers import SAMPLERS
from isoshare.storage.opening.database import LeaseLostError, StoreError
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_study, engine_for, space_of
from tests.test_lease import silent

EXAMPLES = int(os.environ.get("ISOSHARE_EXAMPLES", "10"))
"""Searches of the state machine; hundreds by ``make chaos``."""
SITES, SEEDS, EPOCHS = 4, 2, 4
"""Four sites have 15 plans: a budget may be larger."""
SPACE = space_of(SITES)


def measured(job: Job) -> list[Measured]:
    """What a worker measures of a job."""
    return [one for some in FakeEvaluator()(job.plan, job.seeds, job.split) for one in some]


class Search(RuleBasedStateMachine):
    """A study, the engine of its driver, and the jobs that its workers have.

    told: every value that the engine took, by trial, split, seed and epochs; ended: the states of
    trials that have ended; steps: what the worker of each job will measure next.
    """

    @initialize(
        trials=st.integers(1, 6),
        sampler=st.sampled_from(["random", "tpe", "ehvi"]),
        seed=st.integers(0, 9),
        rungs=st.sampled_from([(), (1,), (1, 2)]),
        repeats=st.sampled_from([0.0, 0.4]),
        stop_at=st.sampled_from([None, 0.9]),
    )
    def launch(  # noqa: PLR0917
        self,
        trials: int,
        sampler: str,
        seed: int,
        rungs: tuple[int, ...],
        repeats: float,
        stop_at: float | None,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(f"sqlite:///{self.folder.name}/test.db")
        self.stores = [self.store]
        ends = {"stop_at": stop_at} if sampler == "ehvi" and stop_at else {}
        self.options = {"replicates": SEEDS, "workers": 1, "sampler": sampler, "seed": seed}
        self.options |= {"epochs": EPOCHS, "rungs": rungs, "repeats": repeats, **ends}
        self.trials = trials
        create_study(self.store, SPACE, make_config({**self.options, "trials": trials}))
        self.told: dict[tuple[int, str, int, int], float] = {}
        self.ended: dict[int, str] = {}
        self.deaths: dict[int, int] = {}
        self.starts: dict[int, int] = {}
        self.store.take_lease("study")
        self.resume()

    def resume(self) -> None:
        config = make_config({**self.options, "trials": self.trials})
        self.store.set_budget("study", self.trials)
        self.engine = engine_for(self.store, self.store.study("study"), config, SPACE)
        self.jobs: dict[int, Job] = {}
        self.steps: dict[int, list[list[Measured]]] = {}

    def hand_over(self, job: Job) -> None:
        """A worker has a job."""
        self.jobs[job.number] = job
        self.steps[job.number] = list(FakeEvaluator()(job.plan, job.seeds, job.split, job.rungs))

    def take(self, data: st.DataObject) -> Job:
        """The job of one of the workers."""
        return self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]

    @rule()
    def ask(self) -> None:
        job = self.engine.ask()
        if job is None:
            return
        assert job.number not in self.jobs
        asked = {(job.number, job.split, seed, EPOCHS) for seed in job.seeds}
        assert job.seeds
        assert not asked & set(self.told)
        self.hand_over(job)
        if self.ended.get(job.number) == "stopped":
            del self.ended[job.number]  # it is taken up again
        if job.split == "validation" and job.number not in self.ended:
            self.starts[job.number] = self.starts.get(job.number, 0) + 1

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        job = self.take(data)
        results = self.steps[job.number].pop(0)
        over = self.engine.tell(job.number, results)
        for one in results:
            key = (job.number, job.split, one.seed, one.epochs or EPOCHS)
            self.told[key] = one.values["accuracy"]
        assert over or self.steps[job.number]
        if over:
            self.end(job, "stopped" if self.steps[job.number] else "finished")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job = self.take(data)
        self.engine.fail(job.number, "the loss became nan")
        self.end(job, "failed")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def lose_a_worker(self, data: st.DataObject) -> None:
        job = self.take(data)
        again = self.engine.worker_died(job.number)
        if again is None:
            self.end(job, "failed")
            return
        assert (again.number, again.plan, again.split) == (job.number, job.plan, job.split)
        self.deaths[job.number] = self.deaths.get(job.number, 0) + 1
        self.starts[job.number] = self.starts.get(job.number, 0) + 1
        self.hand_over(again)

    def end(self, job: Job, state: str) -> None:
        """A job is over; one that measures a finished trial again leaves it finished."""
        del self.jobs[job.number], self.steps[job.number]
        if self.ended.get(job.number) != "finished":
            assert job.split == "validation"
            assert job.number not in self.ended
            self.ended[job.number] = state

    @rule(more=st.sampled_from([0, 0, 1, 12]))
    def kill_the_driver_and_resume(self, more: int) -> None:
        self.trials += more if self.trials < 12 else 0
        self.resume()

    @rule()
    def be_taken_over(self) -> None:
        """Another driver takes the study; what the first one's workers bring is not written."""
        before, engine, steps = self.store, self.engine, self.steps
        self.store = Store(str(before._database.url))
        self.stores.append(self.store)
        with pytest.raises(StoreError, match="is being run"):
            self.store.take_lease("study")
        silent(before, 3600)
        self.store.take_lease("study")
        self.resume()
        for number, measured in steps.items():
            with pytest.raises(LeaseLostError):
                engine.tell(number, measured[0])

    @invariant()
    def the_database_is_what_was_told(self) -> None:
        trials = self.store.trials("study")
        assert [trial.number for trial in trials] == list(range(len(trials)))
        assert len({trial.plan.fingerprint for trial in trials}) == len(trials)
        assert self.spent(trials) <= self.trials
        stored = {
            (trial.number, m.split, m.seed, m.fidelity["epochs"]): m.values["accuracy"]
            for trial in trials
            for m in trial.measurements
        }
        assert stored == self.told
        assert sum(len(trial.measurements) for trial in trials) == len(stored)
        running = {trial.number for trial in trials} - set(self.ended)
        assert {t.number: t.state for t in trials} == {
            **self.ended,
            **dict.fromkeys(running, "running"),
        }
        for trial in trials:
            assert self.deaths.get(trial.number, 0) <= ATTEMPTS
            assert trial.attempts == self.starts.get(trial.number, 1)

    def spent(self, trials: list[TrialRecord]) -> int:
        """Trials, and measurements of finished ones beyond the first, each from its first seed."""
        finished = [len(t.samples("accuracy")) for t in trials if t.state == "finished"]
        return len(trials) + sum(-(-count // SEEDS) - 1 for count in finished)

    def teardown(self) -> None:
        """In the end the search is finished by somebody, with exactly its budget."""
        if not hasattr(self, "store"):
            return
        self.resume()
        run_inline(self.engine, FakeEvaluator())
        assert self.engine.done
        trials = self.store.trials("study")
        if "stop_at" not in self.options:
            repeated = self.spent(trials) - len(trials)
            assert self.spent(trials) == min(self.trials, SPACE.count() + repeated)
        assert all(map(complete, trials))
        self.resume()
        assert self.engine.done, "a search that has ended stays so"
        for store in self.stores:
            store.close()
        self.folder.cleanup()


def complete(trial: TrialRecord) -> bool:
    """Whether a trial has ended, with all its seeds if it finished."""
    seeds = len(trial.samples("accuracy"))
    return trial.state in ("failed", "stopped") or (trial.state == "finished" and seeds >= SEEDS)


def test_nothing_is_lost_and_nothing_counts_twice() -> None:
    run_state_machine_as_test(
        Search, settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    )


def sequence(store: Store, sampler: str, kills: frozenset[int]) -> list[tuple[str, str, str]]:
    """What a search with one worker proposes; the driver is killed after these results."""
    options = {"trials": 8, "replicates": SEEDS, "workers": 1, "sampler": sampler}
    config = make_config(options)
    study = create_study(store, space_of(5), config)
    engine, results = engine_for(store, study, config, space_of(5)), 0
    broken = space_of(5).fully_shared_plan().fingerprint
    while (job := engine.ask()) is not None:
        if job.plan.fingerprint == broken:
            engine.fail(job.number, "the loss became nan")
            continue
        for result in measured(job):
            engine.tell(job.number, [result])
            results += 1
            if results in kills:
                engine = engine_for(store, study, config, space_of(5))
                break
    return [(t.plan.fingerprint, t.origin, t.state) for t in store.trials("study")]


@cache
def uninterrupted(sampler: str) -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        return sequence(Store(f"sqlite:///{folder}/whole.db"), sampler, frozenset())


@pytest.mark.parametrize("sampler", SAMPLERS)
@settings(max_examples=5, deadline=None)
@given(kills=st.frozensets(st.integers(1, 14), min_size=1))
def test_an_interrupted_search_proposes_what_the_uninterrupted_one_does(
    sampler: str, kills: frozenset[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'killed.db'}")
        assert sequence(store, sampler, kills) == uninterrupted(sampler)
        store.close()
