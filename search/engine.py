"""The engine: the only meeting point of sampler and store.

A driver asks for jobs and tells what came of them; it knows neither samplers nor tables. The store
is written first, the sampler is told afterwards. No plan is measured twice, however it is written;
the budget is counted in the store, so it is exact through interruptions.

A search has two phases. First the sampler proposes plans, measured on the validation images; some
of the budget may go to plans of the front again, with new seeds, and trainings that promise little
may be stopped at a rung. Then those on the front are measured on the test images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import SearchConfig
from isoshare.search.jobs import Job, Progress, job_for, measurement_records
from isoshare.search.proposals.foresight import Foresight
from isoshare.search.proposals.references import with_references
from isoshare.search.proposals.sampler import MakeSampler
from isoshare.search.proposals.sampling import Sampling
from isoshare.search.search_state import SearchState
from isoshare.search.trials.stopping import Stopping
from isoshare.search.trials.testing import TestPhase
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord, TrialRecord, TrialState
from isoshare.storage.store import Store

ATTEMPTS = 3
"""So many workers may die on a plan before it counts as failed."""


class Engine:
    """Ask, tell and fail for one study.

    make_sampler: called with the history of the search; conditions: stored with each measurement
    (versions, device, data fingerprint); foresight: what a trained network says of plans;
    search_state: the trials as they are now; on_change, called after each change, and on_end, with
    each trial that has ended, are for whoever watches. stopping: what ends the search earlier.
    """

    def __init__(  # noqa: PLR0913, PLR0917  one for each thing it brings together
        self,
        store: Store,
        study: StudyRecord,
        config: SearchConfig,
        space: Space,
        make_sampler: MakeSampler,
        conditions: dict[str, Any] | None = None,
        foresight: Foresight | None = None,
    ) -> None:
        self._store = store
        self._study = study
        self._config = config
        self._space = space
        self._conditions = conditions or {}
        self._foresight = foresight
        self.on_change: Callable[[], None] = lambda: None
        self.on_end: Callable[[TrialRecord], None] = lambda _: None
        self._make_sampler = make_sampler
        self.trials = config.trials
        self.stopping = Stopping.of(config)
        self._is_over = False
        self._take_up()
        self._waiting = deque(self.search_state.numbers("running"))
        self._learn_references(self.search_state.numbers("finished")[:1])
        self._running: dict[int, Job] = {}
        self._tests = TestPhase(config)

    @property
    def budget(self) -> int:
        """How many trials the search is to have: fewer than asked for if there are no more."""
        if self._is_over:
            return self._spent
        return min(self.trials, self._space.count() + self.search_state.repeats.done)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        if self.stopping.is_asked:
            return not self._running
        return not (self.unstarted or self._running or self._tests.queue(self.search_state.front))

    def progress(self) -> Progress:
        """Where the search stands now."""
        left = self._tests.left + sum(job.split == "test" for job in self._running.values())
        return Progress(
            budget=self.budget,
            **self.search_state.counts(),
            running=len(self._running),
            remaining=self._sampling.remaining,
            front=self.search_state.front,
            tests=self._tests.total,
            tests_done=self._tests.total - left,
        )

    def ask(self) -> Job | None:
        """The next job, or None if there is nothing to do now: all is done, or others run."""
        if (job := self._next_job()) is not None:
            self._running[job.number] = job
        self.on_change()
        return job

    def tell(self, number: int, measured: Sequence[Measured]) -> bool:
        """Take the measurements of some seeds; returns whether the job has all its seeds now."""
        job = self._running[number]
        if self.stopping.drops(self.search_state.trials[number], measured):
            del self._running[number]
            return True
        records = measurement_records(self._config, job, measured, self._conditions)
        whole = {one.seed for one in measured if one.epochs is None}
        left = tuple(seed for seed in job.seeds if seed not in whole)
        self.stopping.note_success()
        self._store.add_measurements(self._study.name, number, records, finished=not left)
        trial = self.search_state.trials[number]
        new = tuple(record for record in records if record not in trial.measurements)
        self.search_state.put(replace(trial, measurements=trial.measurements + new))
        self._running[number] = job = replace(job, seeds=left)
        stopped = bool(left) and self.search_state.is_to_stop(job, self.stopping.time_is_up)
        if stopped:
            self._store.stop_trial(self._study.name, number)
        elif not left:
            self._learn_references([number])
        ended = stopped or not left
        if ended:
            self._end(job, "stopped" if stopped else "finished")
        self.on_change()
        if ended:
            self.on_end(self.search_state.trials[number])
        return ended

    def fail(self, number: int, reason: str) -> None:
        """Record that a plan cannot be measured: it counts against the budget and stays known.

        A plan that was measured before keeps what was measured.
        """
        job = self._running[number]
        trial = self.search_state.trials[number]
        if trial.state == "running":
            self._store.fail_trial(self._study.name, number, reason)
            self.search_state.put(replace(trial, error=reason))
            self._end(job, "failed")
        else:
            self.search_state.repeats.give_up(number)
            self._end(job, trial.state)
        self.on_change()
        self.on_end(self.search_state.trials[number])
        self.stopping.note_failure(reason)

    def runs(self, number: int) -> bool:
        """Whether a trial was handed out and has not ended."""
        return number in self._running

    def worker_died(self, number: int) -> Job | None:
        """A worker died. The job to do again, less the seeds it had done; None if it failed."""
        attempts = self.search_state.trials[number].attempts
        if attempts >= ATTEMPTS:
            self.fail(number, f"its worker or its driver died {attempts} times")
            return None
        self._count_attempt(number)
        return self._running[number]

    @property
    def unstarted(self) -> int:
        """What is still to be started in the first phase."""
        recalled = self.search_state.recalled() is not None
        return len(self._waiting) + recalled + max(0, self.budget - self._spent)

    @property
    def _spent(self) -> int:
        """So much of the budget is used or being used."""
        repeats = self.search_state.repeats.done + self.search_state.repeating(self._running)
        return len(self.search_state) + repeats

    def _next_job(self) -> Job | None:
        if self.stopping.is_asked:
            return None
        if self._waiting:
            number = self._waiting.popleft()
            self._count_attempt(number)
            return job_for(self._config, self.search_state.trials[number])
        if (recalled := self.search_state.recalled()) is not None:
            return self._recall(recalled)
        if self._spent < self.budget:
            job = self.search_state.repeat(self._spent, self._running) or self._propose()
            if job is not None:
                return job
            self._is_over = True
        if self._running and not self._tests.is_planned:
            return None  # what is running may still change the front
        queue = self._tests.queue(self.search_state.front)
        return queue.popleft() if queue else None

    def _recall(self, number: int) -> Job:
        attempts = self.search_state.trials[number].attempts + 1
        self._store.recall_trial(self._study.name, number, attempts)
        trial = replace(self.search_state.trials[number], state="running", attempts=attempts)
        self.search_state.put(trial)
        return job_for(self._config, trial)

    def _count_attempt(self, number: int) -> None:
        attempts = self.search_state.trials[number].attempts + 1
        self._store.set_attempts(self._study.name, number, attempts)
        self.search_state.put(replace(self.search_state.trials[number], attempts=attempts))

    def _propose(self) -> Job | None:
        """A plan that the study does not have, stored as running; None if there is none left."""
        if (trial := self._sampling.next_trial(len(self.search_state))) is None:
            return None
        self._store.add_trial(self._study.name, trial)
        self.search_state.put(trial)
        return job_for(self._config, trial)

    def _take_up(self) -> None:
        """The trials of the store, and a sampler that knows them."""
        self.search_state = SearchState(self._study, self._config)
        self.search_state.fill(self._store.trials(self._study.name))
        history = self.search_state.history(self._space, self._foresight)
        self._sampling = Sampling(history, self._make_sampler, self._config.objectives)
        self._look_ahead()

    def _learn_references(self, finished: Sequence[int]) -> None:
        """Where the hypervolume of objectives of the user's own begins, if only a value can say."""
        trials = [self.search_state.trials[number] for number in finished]
        study = with_references(self._store, self._study, trials)
        if study is not self._study:
            self._study = study
            self._take_up()

    def _look_ahead(self) -> None:
        """What may still be gained; the search is over when that is too little."""
        self._sampling.look_ahead()
        remaining = self._sampling.remaining
        if remaining is not None and remaining < (self._config.stop_at or 0):
            self._is_over = True

    def _end(self, job: Job, state: TrialState) -> None:
        del self._running[job.number]
        if job.split == "test":
            return
        before = self.search_state.trials[job.number]
        trial = replace(before, state=state)
        self.search_state.end(trial)
        if before.state != "finished":
            self._sampling.tell(trial)
        self._look_ahead()
