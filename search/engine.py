"""The engine: the only meeting point of sampler and store.

A driver asks for jobs and tells what came of them; it knows neither samplers nor tables. The store
is written first, the sampler is told afterwards. No plan is measured twice, however it is written;
the budget is counted in the store, so it is exact through interruptions.

A search has two phases. First the sampler proposes plans, measured on the validation images. When
all trials have ended, the plans on the front are trained again and measured on the test images,
which nothing has seen before.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluators.evaluate import Measured, Split
from evaluators.objectives import exact_values
from search.config import SearchConfig
from search.constraints import exact_limits, measured_limits
from search.proposer import Proposer
from search.results.pareto import Front, axes_of, pareto_front, values_of, with_all_values
from space.plan import SharingPlan
from space.search_space import SearchSpace
from storage.records import MeasurementRecord, StudyRecord, TrialRecord, TrialState
from storage.store import Store

ATTEMPTS = 3
"""So many workers may die on a plan before it counts as failed."""


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
        self._limits = measured_limits(config.document())
        # Parameters are recorded whatever is searched for: plan files and exports need them.
        bounded = (limit.objective for limit in exact_limits(config.document()))
        self._recorded = tuple(dict.fromkeys(("parameters", *config.objectives, *bounded)))
        self._trials: dict[int, TrialRecord] = {}
        self._known: set[str] = set()
        self._ended: Counter[TrialState] = Counter()
        self._proposer = Proposer(
            space,
            config,
            [axis.direction for axis in self._axes],
            is_new=lambda plan: plan.fingerprint not in self._known,
        )
        for trial in store.trials(study.name):
            self._remember(trial)
            self._proposer.restore(trial, values_of(self._axes, trial), self._excess(trial))
            if trial.state != "running":
                self._ended[trial.state] += 1
        self.front = self._front_of(list(self._trials.values()))
        self._waiting = deque(t.number for t in self._trials.values() if t.state == "running")
        self._exhausted = False
        self._running: dict[int, Job] = {}
        self._tests: deque[Job] | None = None
        self._tests_total = 0

    @property
    def budget(self) -> int:
        """How many trials the search is to have: fewer than asked for if there are no more."""
        most = min(self._config.trials, self._space.count())
        return len(self._trials) if self._exhausted else most

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return not (self._unfinished or self._running or self._test_queue())

    def progress(self) -> Progress:
        """Where the search stands now."""
        left = len(self._tests or ()) + sum(job.split == "test" for job in self._running.values())
        return Progress(
            budget=self.budget,
            finished=self._ended["finished"],
            failed=self._ended["failed"],
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
        self.on_change()
        return job

    def tell(self, number: int, measured: Sequence[Measured]) -> bool:
        """Take the measurements of some seeds; returns whether the job has all its seeds now."""
        job = self._running[number]
        records = tuple(self._record(one, job.split) for one in measured)
        told = {record.seed for record in records}
        left = tuple(seed for seed in job.seeds if seed not in told)
        finished = not left
        self._store.add_measurements(self._study.name, number, records, finished)
        trial = self._trials[number]
        self._trials[number] = replace(
            trial,
            state="finished" if finished else trial.state,
            measurements=trial.measurements + records,
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
        attempts = self._trials[number].attempts
        if attempts >= ATTEMPTS:
            self.fail(number, f"its worker died {attempts} times")
            return None
        self._count_attempt(number)
        return self._running[number]

    @property
    def _unfinished(self) -> int:
        """Trials of the first phase that are still to be started."""
        return len(self._waiting) + max(0, self.budget - len(self._trials))

    def _next_job(self) -> Job | None:
        if self._waiting:
            number = self._waiting.popleft()
            self._count_attempt(number)
            return self._job(self._trials[number])
        if len(self._trials) < self.budget:
            proposed = self._propose()
            if proposed is not None:
                return self._job(proposed)
            self._exhausted = True
        if self._running and self._tests is None:
            return None  # what is running may still change the front
        queue = self._test_queue()
        return queue.popleft() if queue else None

    def _count_attempt(self, number: int) -> None:
        attempts = self._trials[number].attempts + 1
        self._store.set_attempts(self._study.name, number, attempts)
        self._trials[number] = replace(self._trials[number], attempts=attempts)

    def _job(self, trial: TrialRecord, split: Split = "validation") -> Job:
        done = {m.seed for m in trial.measurements if m.split == split}
        seeds = range(self._config.seed, self._config.seed + self._config.replicates)
        return Job(trial.number, trial.plan, tuple(s for s in seeds if s not in done), split)

    def _record(self, measured: Measured, split: Split) -> MeasurementRecord:
        return MeasurementRecord(
            seed=measured.seed,
            split=split,
            fidelity={"epochs": self._config.epochs},
            values=measured.values,
            seconds=measured.seconds,
            conditions=self._conditions,
        )

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
        proposal = self._proposer.propose(number)
        if proposal is None:
            return None
        trial = TrialRecord(
            number=number,
            plan=proposal.plan,
            origin=proposal.origin,
            state="running",
            exact=exact_values(self._recorded, self._space, proposal.plan),
            proposal=proposal.memory,
            attempts=1,
        )
        self._store.add_trial(self._study.name, trial)
        self._remember(trial)
        return trial

    def _end(self, job: Job) -> None:
        del self._running[job.number]
        if job.split == "test":
            return
        trial = self._trials[job.number]
        self._ended[trial.state] += 1
        self._proposer.tell(job.number, values_of(self._axes, trial), self._excess(trial))
        # Who is off the front never comes back to it, so the others need not be looked at again.
        excluded = (self._trials[one.number] for one in self.front.excluded)
        self.front = self._front_of([*self.front.members, *excluded, trial])

    def _front_of(self, trials: Sequence[TrialRecord]) -> Front:
        return pareto_front(self._axes, with_all_values(self._axes, trials), self._limits)

    def _excess(self, trial: TrialRecord) -> dict[str, float]:
        """How far a trial is beyond the limits on what was measured of it."""
        values = {limit: trial.value(limit.objective) for limit in self._limits}
        return {
            limit.option: math.inf if value is None else limit.excess(value)
            for limit, value in values.items()
        }

    def _remember(self, trial: TrialRecord) -> None:
        self._trials[trial.number] = trial
        self._known.add(trial.plan.fingerprint)
