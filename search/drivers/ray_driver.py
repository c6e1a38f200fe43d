"""Run jobs on Ray Tune workers, on one machine or a cluster. Ray is here, in ray_cluster.py and
in ray_worker.py alone.

Each Tune trial is a *worker* that lives as long as the search and is handed jobs: one costs a
message, not a process. (One Tune trial a plan costs a process start each, or with ``reuse_actors``
loses a worker for good when one dies while trials are short: its replacement is taken away as soon
as another worker is free.) Tune places the workers, starts a dead one again, and brings the results
to the driver; which plan is next only the engine decides.

The jobs go to a worker as a call on its actor, before Tune's own call to train: calls of one
caller run in order. A worker that cannot measure on its node says so before it is given any.
"""

from __future__ import annotations

import math
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Any

import isoshare.search.drivers.ray_settings  # noqa: F401  Ray reads them when it is imported

# isort: split
import ray
from ray import tune
from ray.tune.experiment import Trial

from isoshare.evaluators.evaluator import Evaluator
from isoshare.search.drivers.interrupt import Interruption, interruption
from isoshare.search.drivers.ray_worker import Worker, WorkerPool
from isoshare.search.drivers.resources import Share, has_room
from isoshare.search.drivers.results import Result, take
from isoshare.search.drivers.versions import versions
from isoshare.search.engine import Engine
from isoshare.search.jobs import DriverError, Job
from isoshare.space.errors import IsoshareError

DEATHS_IN_A_ROW = 20
"""So many dead workers without a single result between them, and the search stops."""

Warn = Callable[[str], object]
"""Takes a sentence for the user."""


class JobDispatcher(tune.Callback):
    """Carries jobs from the engine to the workers and their results back, in the driver."""

    def __init__(  # noqa: PLR0913, PLR0917  one for each thing it brings together
        self,
        engine: Engine,
        crew: WorkerPool,
        share: Share,
        warn: Warn,
        asked: Interruption,
        most: int = 1,
    ) -> None:
        self._engine, self._crew, self._share, self._warn = engine, crew, share, warn
        self._interruption, self._most = asked, most
        self._jobs: dict[str, dict[int, Job]] = {}
        self._again: deque[Job] = deque()
        self._deaths = 0
        self._useless: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """What has come in is told. Tune itself, when interrupted, would wait up to five seconds
        for workers in the middle of an epoch; what they have done is in their checkpoints.
        """
        self._interruption.check()

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A worker died; Tune will start it again, and whoever is free takes its jobs."""
        self._deaths += 1
        self._crew.refusing.discard(trial.trial_id)
        for lost in self._jobs.pop(trial.trial_id, {}):
            if (job := self._engine.worker_died(lost)) is not None:
                self._again.append(job)
        if self._deaths >= DEATHS_IN_A_ROW:
            raise DriverError(
                f"{self._deaths} workers died one after another without a result: "
                "is there enough memory for them?"
            )

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """A worker has something to tell, or nothing to do."""
        if result.get("done"):
            return
        if "refused" in result:
            self._refused(trial, result["node"], f"{result['name']}: {result['refused']}")
        elif result.get("idle"):
            self._assign(trial)
        else:
            self._deaths = 0
            self._take(trial, result["result"])

    def _take(self, trial: Trial, result: Result) -> None:
        """What a worker has of one of its jobs; it gets others when all of them are over."""
        if (jobs := self._jobs.get(trial.trial_id)) is None:
            return  # it has died since: its jobs are somebody else's
        if result.number in jobs and take(self._engine, result):
            del jobs[result.number]
        if not jobs:
            self._assign(trial)

    def _assign(self, trial: Trial) -> None:
        """Hand over a job that was lost, alone, or else the engine's next ones."""
        if self._crew.spares_one():
            self._tell(trial, [], stop=True)
            return
        jobs = [self._again.popleft()] if self._again else self._next_jobs()
        self._jobs[trial.trial_id] = {job.number: job for job in jobs}
        self._tell(trial, jobs, stop=not jobs and self._engine.done)

    def _next_jobs(self) -> list[Job]:
        """As many as one worker may have: towards the end each gets its part of what is left."""
        most = min(self._most, math.ceil(self._engine.unstarted / self._crew.wanted))
        jobs: list[Job] = []
        while (job := self._engine.ask()) is not None:
            jobs.append(job)
            if len(jobs) >= most or not job.can_join:
                break
        return jobs

    def _tell(self, trial: Trial, jobs: list[Job], stop: bool) -> None:
        actor = trial.temporary_state.ray_actor
        assert actor is not None, "Tune calls back for a trial only while its actor is up"
        actor.assign.remote(jobs, stop)

    def _refused(self, trial: Trial, node: str, sentence: str) -> None:
        """A worker cannot measure where it is: it stays there, and another one is started."""
        self._crew.refusing.add(trial.trial_id)
        self._tell(trial, [], stop=self._engine.done)
        if node not in self._useless:
            self._useless[node] = sentence
            self._warn(f"no training on node {sentence}")
        with_room = {
            node["NodeID"]
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"] and has_room(node["Resources"], self._share)
        }
        if with_room <= set(self._useless):
            raise DriverError(f"no node of the cluster can train, as {sentence}")


def run_on_ray(  # noqa: PLR0913  who does what, with what
    engine: Engine,
    measure: Evaluator,
    workers: int,
    share: Share | None = None,
    warn: Warn = print,
    *,
    plans: int = 1,
) -> None:
    """Run jobs until the engine has none left, or until Ctrl-C: then ``engine.done`` is False.

    workers: processes; on a cluster those that find no room wait for it. share: what each takes, as
    ``ray_cluster`` says; one CPU if it is left out. warn: is told of nodes where nothing can be
    measured. plans: so many a worker may train side by side.
    Raises DriverError when the workers keep dying, or none can measure. Needs ``ray_cluster``
    around it.
    """
    share = share or {"CPU": 1}
    crew = WorkerPool(engine, workers)
    trainable = tune.with_parameters(
        Worker,
        measure=[ray.put(measure)],
        threads=max(1, int(share["CPU"])),
        versions=versions(),
    )
    with tempfile.TemporaryDirectory(prefix="isoshare-") as folder, interruption() as asked:
        tuner = tune.Tuner(
            tune.with_resources(trainable, share),
            tune_config=tune.TuneConfig(search_alg=crew, num_samples=-1),
            run_config=tune.RunConfig(
                name="workers",
                storage_path=folder,
                verbose=0,
                callbacks=[JobDispatcher(engine, crew, share, warn, asked, plans)],
                failure_config=tune.FailureConfig(max_failures=-1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except tune.TuneError as error:
            raise _cause(error) from error


def _cause(error: BaseException) -> Exception:
    """The error of ours that Tune wrapped, or one that says what Tune said."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, IsoshareError | DriverError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return DriverError(f"Ray Tune gave up: {error}")
