"""Run jobs on Ray Tune workers, on one machine or a cluster. Ray has its only home here.

Each Tune trial is a *worker* that lives as long as the search and is handed one job after another:
a job costs a message, not a process. (One Tune trial a plan costs a process start each, or with
``reuse_actors`` loses a worker for good when one dies while trials are short: its replacement is
taken away as soon as another worker is free.) Tune places the workers, starts a dead one again,
and brings the results to the driver; which plan is next only the engine decides.

The jobs go to a worker as a call on its actor, before Tune's own call to train: calls of one
caller run in order.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_PRINT_ALL_TRIAL_ERRORS="0",
    RAY_AIR_NEW_OUTPUT="0",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    TUNE_DISABLE_SIGINT_HANDLER="1",
)
if "ray" not in sys.modules:  # Ray reads it when it is imported
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray import tune
from ray.tune.experiment import Trial

from evaluators.evaluate import Measure, Measured
from evaluators.training import use_threads
from search.engine import Engine
from search.interruption import Interruption, interruption
from search.jobs import Job
from space.errors import IsoshareError

IDLE_SECONDS = 0.1
"""How long a worker without a job waits before it asks again."""
DEATHS_IN_A_ROW = 20
"""So many dead workers without a single result between them, and the search stops."""
OUR_PACKAGES = ("space", "evaluators", "storage", "search")


Share = dict[str, float]
"""CPUs and accelerators, by Ray's names for them."""


class DriverError(Exception):
    """The workers cannot do their work: nothing is wrong with the request or with a plan."""


class Worker(tune.Trainable):
    """One process that measures the plans it is handed. It never raises: a failure is a result."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], measure: Measure, threads: int
    ) -> None:
        """Called by Tune in the new process. ``measure`` comes from the object store, once."""
        use_threads(threads)
        self._measure = measure
        self._job: Job | None = None
        self._steps: Iterator[list[Measured]] | None = None
        self._stop = False

    def assign(self, job: Job | None, stop: bool) -> None:
        """Take the next job; None to wait for one, ``stop`` to end."""
        self._job, self._stop = job, stop
        self._steps = None

    def step(self) -> dict[str, Any]:
        """Work on the job until there is something to tell."""
        if self._stop:
            return {"done": True}
        job = self._job
        if job is None:
            time.sleep(IDLE_SECONDS)
            return {"idle": True}
        try:
            if self._steps is None:
                self._steps = iter(self._measure(job.plan, job.seeds, job.split, job.rungs))
            return {"number": job.number, "measured": next(self._steps)}
        except StopIteration:
            return {"number": job.number, "error": "the evaluator gave no result"}
        except Exception as error:  # a plan's failure must not take the worker along
            return {"number": job.number, "error": f"{type(error).__name__}: {error}"}


class _Dispatcher(tune.Callback):
    """Carries jobs from the engine to the workers and their results back, in the driver."""

    def __init__(self, engine: Engine, interruption: Interruption) -> None:
        self._engine, self._interruption = engine, interruption
        self._jobs: dict[str, Job] = {}
        self._deaths = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; the database is the state

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """What has come in is told. Tune itself, when interrupted, would wait up to five seconds
        for workers in the middle of an epoch; what they have done is in their checkpoints.
        """
        self._interruption.check()

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A worker is up: the first time, or again after it died."""
        lost = self._jobs.pop(trial.trial_id, None)
        self._assign(trial, self._engine.lost(lost.number) if lost else None)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A worker died; Tune will start it again."""
        self._deaths += 1
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
        if result.get("idle"):
            self._assign(trial, None)
        elif "error" in result:
            self._engine.fail(result["number"], result["error"])
            self._assign(trial, None)
        else:
            self._deaths = 0
            if self._engine.tell(result["number"], result["measured"]):
                self._assign(trial, None)

    def _assign(self, trial: Trial, job: Job | None) -> None:
        """Hand over ``job``, or else the engine's next one."""
        job = job or self._engine.ask()
        self._jobs.pop(trial.trial_id, None)
        if job is not None:
            self._jobs[trial.trial_id] = job
        stop = job is None and self._engine.done
        actor = trial.temporary_state.ray_actor
        assert actor is not None, "Tune calls back for a trial only while its actor is up"
        actor.assign.remote(job, stop)


@contextmanager
def ray_cluster(
    workers: int, address: str | None = None, cpus: float = 1, gpus: float | None = None
) -> Iterator[Share]:
    """Ray for as long as the context lasts: this machine, or the cluster at ``address``.

    cpus and gpus: of one worker; gpus None: an even share of what is there. Gives what one worker
    takes. Raises IsoshareError if there is no cluster to join, or no room for a worker in it.
    """
    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address:
        here = Path(__file__).resolve().parent.parent
        modules = [str(here / name) for name in OUR_PACKAGES]
        try:
            _check_reachable(address)
            ray.init(address=address, runtime_env={"py_modules": modules}, **quiet)
        except OSError as error:
            raise IsoshareError(
                f"cannot join the Ray cluster at {address!r}: {error}; check --ray-address"
            ) from error
    else:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on loopback only
        ray.init(
            address="local", num_cpus=math.ceil(workers * cpus), include_dashboard=False, **quiet
        )
    # A machine that is shut down says so by SIGTERM, which Ray takes for itself: take it as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for name in ("ray.tune", "ray.air", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ray prints news of dead workers on stdout, between our own lines, and has no switch for it.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    try:
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield _share(workers, cpus, gpus, there)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError if nobody listens at ``host:port``: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def run_on_ray(engine: Engine, measure: Measure, workers: int, share: Share | None = None) -> None:
    """Run jobs until the engine has none left, or until Ctrl-C: then ``engine.done`` is False.

    workers: processes; on a cluster those that find no room wait for it. share: what each takes, as
    ``ray_cluster`` says; one CPU if it is left out.
    Raises DriverError when the workers keep dying. Needs ``ray_cluster`` around it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="isoshare-") as folder, interruption() as asked:
            callback = _Dispatcher(engine, asked)
            _tuner(callback, measure, workers, share or {"CPU": 1}, folder).fit()
    except tune.TuneError as error:
        raise _cause(error) from error


def _tuner(
    callback: tune.Callback, measure: Measure, workers: int, share: Share, folder: str
) -> tune.Tuner:
    threads = max(1, int(share["CPU"]))
    trainable = tune.with_parameters(Worker, measure=measure, threads=threads)
    return tune.Tuner(
        tune.with_resources(trainable, share),
        tune_config=tune.TuneConfig(num_samples=workers, max_concurrent_trials=workers),
        run_config=tune.RunConfig(
            name="workers",
            storage_path=folder,
            verbose=0,
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _share(workers: int, cpus: float, gpus: float | None, there: Mapping[str, float]) -> Share:
    """What one worker takes of what is ``there``.

    Accelerators are divided evenly if nothing is said of them: Ray hides them from a worker that
    asks for none. Raises IsoshareError where not a single worker would find room.
    """
    accelerators = there.get("GPU", 0)
    if gpus is None:
        gpus = 1 / math.ceil(workers / accelerators) if accelerators else 0
    for name, option, wanted in (("CPU", "cpus", cpus), ("GPU", "gpus", gpus)):
        if wanted > there.get(name, 0):
            raise IsoshareError(
                f"no training can start: --{option}-per-trial {wanted:g}, and there are "
                f"{there.get(name, 0):g} {name}s in all; lower it, or add nodes"
            )
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _cause(error: BaseException) -> Exception:
    """The error of ours that Tune wrapped, or one that says what Tune said."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, IsoshareError | DriverError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return DriverError(f"Ray Tune gave up: {error}")
