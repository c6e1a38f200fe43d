"""Run a study from Python: in this process, or on Ray where more than one trial shall run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from isoshare.evaluators.own_code.by_value import dumps
from isoshare.evaluators.user_function import UserFunction
from isoshare.search.drivers.heartbeat import heartbeat
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.jobs import Progress
from isoshare.search.workflows.launch import start
from isoshare.search.workflows.prepared import Prepared
from isoshare.space.errors import IsoshareError
from isoshare.storage.records import StudyRecord, TrialRecord
from isoshare.storage.store import Store

DEFAULT_TRIALS = 40
EVERYTHING = 10**6
"""More trials than any study has: time is what ends it."""


@dataclass(frozen=True)
class RunOptions:
    """timeout: seconds after which no trial is started. n_jobs: trials at the same time; with
    one and no ``ray_address`` they run in this process.
    """

    timeout: float | None = None
    n_jobs: int = 1
    ray_address: str | None = None


def run_study(
    prepared: Prepared,
    store: Store,
    options: RunOptions,
    watch: Callable[[Progress], None],
    on_end: Callable[[TrialRecord, Engine], None],
) -> None:
    """Run until the trials that ``prepared`` asks for are there, or until Ctrl-C.

    watch: is called after each change; on_end: with each trial that has ended. Raises DriverError
    when workers keep dying, or all trials fail alike; KeyboardInterrupt when interrupted.
    """
    with opened(prepared, store) as engine:
        engine.stopping.begin(options.timeout)
        engine.on_change = lambda: watch(engine.progress())
        engine.on_end = lambda trial: on_end(trial, engine)
        measure = prepared.evaluator.ending(engine.stopping.deadline)
        if options.n_jobs == 1 and options.ray_address is None:
            run_inline(engine, measure)
            return
        if isinstance(measure, UserFunction):
            dumps(measure, "the function")  # told here, before Ray is started
        _run_on_ray(engine, replace(prepared, evaluator=measure), options)
        if not engine.done:
            raise KeyboardInterrupt


@contextmanager
def opened(prepared: Prepared, store: Store) -> Iterator[Engine]:
    """The engine of a study that this process runs for as long as the context lasts."""
    engine = start(prepared, store)
    if store.is_in_memory:
        yield engine
        return
    with heartbeat(store, prepared.study.name):
        yield engine


def _run_on_ray(engine: Engine, prepared: Prepared, options: RunOptions) -> None:
    from isoshare.search.drivers.ray_cluster import ray_cluster
    from isoshare.search.drivers.ray_driver import run_on_ray
    from isoshare.search.drivers.runtime_env import code_for

    code = code_for(prepared.config.backbone) if options.ray_address else ()
    with ExitStack() as stack:
        cluster = ray_cluster(options.n_jobs, options.ray_address, code=code)
        share = stack.enter_context(cluster)
        run_on_ray(engine, prepared.evaluator, options.n_jobs, share)


def begin_call(
    study: StudyRecord, store: Store, n_trials: int | None, timeout: float | None
) -> int:
    """How many trials the study is to have when this call has ended.

    n_trials: so many more than there are; None: 40, or whatever fits into ``timeout``. A call that
    was interrupted is taken up by the same call again: it goes on to what was asked for then, and
    so does one that names no number. Raises IsoshareError.
    """
    if n_trials is not None and n_trials < 1:
        raise IsoshareError(f"n_trials has to be at least 1, got {n_trials}")
    outcomes = store.outcomes(study.name, ())
    there = len(outcomes)
    last = study.context.more.get("call", {"from": 0, "trials": 0})
    is_running = any(one.state == "running" for one in outcomes)
    is_open = is_running or there < last["from"] + last["trials"]
    if is_open and n_trials in (None, last["trials"]):
        return int(last["from"] + last["trials"])
    wanted = n_trials or (DEFAULT_TRIALS if timeout is None else EVERYTHING)
    store.change_study(study.name, {}, {"call": {"from": there, "trials": wanted}})
    return min(there + wanted, EVERYTHING)
