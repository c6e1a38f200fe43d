"""The engine: the only meeting point of sampler and store.

A driver asks for jobs and tells what came of them; it knows neither samplers nor tables. The store
is written first, Optuna is told afterwards: Optuna's study lives in memory and is rebuilt from the
store, so there is one truth. No plan is measured twice, however it is written; the budget is
counted in the store, so it is exact through interruptions.

A search has two phases. First the sampler proposes plans, measured on the validation images. When
all trials have ended, the plans on the front are trained again and measured on the test images,
which nothing has seen before.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from evaluators.evaluate import Measured, Split
from evaluators.objectives import exact_values
from search.config import SearchConfig
from search.results.pareto import Front, axes_of, pareto_front
from search.samplers import make_sampler
from space.plan import SharingPlan
from space.search_space import SearchSpace
from storage.records import MeasurementRecord, StudyRecord, TrialRecord
from storage.store import Store

REPEATS_IN_A_ROW = 8
"""So many known plans in a row, and the next plan is drawn at random instead."""
RANDOM_DRAWS = 200
"""So many known plans drawn at random, and the space is searched for a new one in order."""
ENUMERABLE = 100_000
"""The largest space that is searched in order."""
ATTEMPTS = 3
"""So many workers may die on a plan before it counts as failed."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Job:
    """One plan for a worker: train it once for each seed, and measure on ``split``."""

    number: int
    plan: SharingPlan
    seeds: tuple[int, ...]
    split: Split


@dataclass(frozen=True)
class Progress:
    """Where a search stands. ``tests`` counts trainings that are measured on the test images."""

    budget: int
    finished: int
    failed: int
    running: int
    front: Front
    tests: int
    tests_done: int


class Engine:
    """Ask, tell and fail for one study.

    conditions: what is stored with each measurement (versions, device, data fingerprint).
    on_change: called after each change; whoever watches assigns it.
    """

    def __init__(
        self,
        store: Store,
        study: StudyRecord,
        config: SearchConfig,
        space: SearchSpace,
        conditions: dict[str, Any] | None = None,
    ) -> None:
        self._store = store
        self._study = study
        self._config = config
        self._space = space
        self._conditions = conditions or {}
        self.on_change: Callable[[], None] = lambda: None
        self._axes = axes_of(study)
        self._trials: dict[int, TrialRecord] = {}
        self._numbers: dict[str, int] = {}
        self._optuna = optuna.create_study(directions=[axis.direction for axis in self._axes])
        self._in_optuna: dict[int, int] = {}
        self._exhausted = False
        self._rebuild()
        self._waiting = deque(t.number for t in self._trials.values() if t.state == "running")
        self._running: dict[int, Job] = {}
        self._tests: deque[Job] | None = None
        self._tests_total = 0
        self._front: Front | None = None

    @property
    def budget(self) -> int:
        """How many trials the search is to have: fewer than asked for if there are no more."""
        return len(self._trials) if self._exhausted else self._config.trials

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return not (self._unfinished or self._running or self._test_queue())

    @property
    def front(self) -> Front:
        """The front of all trials that have ended."""
        if self._front is None:
            self._front = pareto_front(self._axes, list(self._trials.values()))
        return self._front

    def progress(self) -> Progress:
        """Where the search stands now."""
        states = [trial.state for trial in self._trials.values()]
        left = len(self._tests or ()) + sum(job.split == "test" for job in self._running.values())
        return Progress(
            budget=self.budget,
            finished=states.count("finished"),
            failed=states.count("failed"),
            running=len(self._running),
            front=self.front,
            tests=self._tests_total,
            tests_done=self._tests_total - left,
        )

    def ask(self) -> Job | None:
        """The next job, or None if there is nothing to do now: all is done, or others run."""
        job = self._next_job()
        if job is not None:
            self._running[job.number] = job
            attempts = self._store.count_attempt(self._study.name, job.number)
            self._trials[job.number] = replace(self._trials[job.number], attempts=attempts)
        self.on_change()
        return job

    def tell(self, number: int, seed: int, measured: Measured) -> bool:
        """Take the measurement of one seed; returns whether the job has all its seeds now."""
        job = self._running[number]
        record = MeasurementRecord(
            seed=seed,
            split=job.split,
            fidelity={"epochs": self._config.epochs},
            values=measured.values,
            seconds=measured.seconds,
            conditions=self._conditions,
        )
        left = tuple(other for other in job.seeds if other != seed)
        finished = not left
        self._store.add_measurement(self._study.name, number, record, finished)
        trial = self._trials[number]
        state = "finished" if finished else trial.state
        self._trials[number] = replace(
            trial, state=state, measurements=(*trial.measurements, record)
        )
        self._running[number] = replace(job, seeds=left)
        if finished:
            self._end(job)
        self.on_change()
        return finished

    def fail(self, number: int, reason: str) -> None:
        """Record that a plan cannot be measured: it counts against the budget and stays known."""
        job = self._running[number]
        if job.split == "validation":  # a front plan that fails its test keeps its validation
            self._store.fail_trial(self._study.name, number, reason)
            self._trials[number] = replace(self._trials[number], state="failed", error=reason)
        self._end(job)
        self.on_change()

    def lost(self, number: int) -> Job | None:
        """A worker died. The job to do again, less the seeds it had done; None if it failed."""
        trial = self._trials[number]
        if trial.attempts >= ATTEMPTS:
            self.fail(number, f"its worker died {trial.attempts} times")
            return None
        attempts = self._store.count_attempt(self._study.name, number)
        self._trials[number] = replace(trial, attempts=attempts)
        return self._running[number]

    @property
    def _unfinished(self) -> int:
        """Trials of the first phase that are still to be started."""
        return len(self._waiting) + max(0, self.budget - len(self._trials))

    def _next_job(self) -> Job | None:
        if self._waiting:
            return self._job(self._trials[self._waiting.popleft()])
        if len(self._trials) < self.budget:
            proposed = self._propose()
            if proposed is not None:
                return self._job(proposed)
            self._exhausted = True
        if self._running and self._tests is None:
            return None  # what is running may still change the front
        queue = self._test_queue()
        return queue.popleft() if queue else None

    def _job(self, trial: TrialRecord, split: Split = "validation") -> Job:
        done = {m.seed for m in trial.measurements if m.split == split}
        seeds = range(self._config.seed, self._config.seed + self._config.replicates)
        return Job(trial.number, trial.plan, tuple(s for s in seeds if s not in done), split)

    def _test_queue(self) -> deque[Job]:
        """The second phase; it is planned once, when the front stands."""
        if self._tests is None:
            jobs = (self._job(trial, "test") for trial in self.front.members)
            self._tests = deque(job for job in jobs if job.seeds)
            self._tests_total = len(self._tests)
        return self._tests

    def _propose(self) -> TrialRecord | None:
        """A plan that the study does not have, stored as running; None if there is none left."""
        number = len(self._trials)
        for origin, trial, plan in self._candidates(number):
            if not self._is_new(plan):
                self._optuna.tell(trial, state=TrialState.FAIL)
                continue
            frozen = self._optuna.trials[trial.number]
            record = TrialRecord(
                number=number,
                plan=plan,
                origin=origin,
                state="running",
                exact=exact_values(list(self._config.objectives), self._space, plan),
                proposal={"params": frozen.params, "system_attrs": frozen.system_attrs},
            )
            self._store.add_trial(self._study.name, record)
            self._remember(record, trial.number)
            return record
        return None

    def _candidates(self, number: int) -> Iterator[tuple[str, optuna.Trial, SharingPlan]]:
        """Proposals, from the best source to the last resort."""
        for origin, plan in self._warm_starts():
            if self._is_new(plan):
                yield origin, *self._ask_for(plan)
        for attempt in range(REPEATS_IN_A_ROW):
            self._optuna.sampler = make_sampler(
                self._config.sampler, _seed(self._config.seed, number, attempt)
            )
            trial = self._optuna.ask()
            yield "sampler", trial, self._space.suggest(trial)
        rng = random.Random(_seed(self._config.seed, number, REPEATS_IN_A_ROW))
        for _ in range(RANDOM_DRAWS):
            plan = self._space.random_plan(rng)
            if self._is_new(plan):
                yield "random", *self._ask_for(plan)
        if self._space.count() <= ENUMERABLE:
            for plan in filter(self._is_new, self._space.plans()):
                yield "enumeration", *self._ask_for(plan)

    def _warm_starts(self) -> Iterator[tuple[str, SharingPlan]]:
        yield "unshared", self._space.unshared_plan()
        yield "fully shared", self._space.fully_shared_plan()

    def _ask_for(self, plan: SharingPlan) -> tuple[optuna.Trial, SharingPlan]:
        """Make Optuna propose this plan."""
        self._optuna.enqueue_trial(self._space.parameters(plan))
        trial = self._optuna.ask()
        return trial, self._space.suggest(trial)

    def _is_new(self, plan: SharingPlan) -> bool:
        limit = self._config.max_parameters
        if limit is not None and self._space.trainable_parameters(plan) > limit:
            return False
        return plan.fingerprint not in self._numbers

    def _end(self, job: Job) -> None:
        del self._running[job.number]
        self._front = None
        if job.split == "validation":
            values, state = self._outcome(self._trials[job.number])
            self._optuna.tell(self._in_optuna[job.number], values, state)

    def _outcome(self, trial: TrialRecord) -> tuple[list[float] | None, TrialState]:
        """What Optuna is told of a trial that has ended."""
        values = [trial.value(axis.name) for axis in self._axes]
        if trial.state == "failed" or None in values:
            return None, TrialState.FAIL
        return [value for value in values if value is not None], TrialState.COMPLETE

    def _rebuild(self) -> None:
        """Take everything up from the store."""
        for trial in self._store.trials(self._study.name):
            self._optuna.add_trial(self._frozen(trial))
            self._remember(trial, len(self._in_optuna))

    def _frozen(self, trial: TrialRecord) -> FrozenTrial:
        fixed = FixedTrial(trial.proposal["params"])
        self._space.suggest(fixed)
        running = trial.state == "running"
        values, state = (None, TrialState.RUNNING) if running else self._outcome(trial)
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=trial.proposal["params"],
            distributions=fixed.distributions,
            system_attrs=trial.proposal["system_attrs"],
        )

    def _remember(self, trial: TrialRecord, optuna_number: int) -> None:
        self._trials[trial.number] = trial
        self._numbers[trial.plan.fingerprint] = trial.number
        self._in_optuna[trial.number] = optuna_number


def _seed(*parts: int) -> int:
    """One number from several, so that neighbouring studies and trials have unrelated streams."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
