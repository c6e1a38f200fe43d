"""Run a study from Python: in this process, or on Ray where more than one trial shall run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from numbers import Integral, Real

from isoshare.evaluators.evaluator import Evaluator
from isoshare.evaluators.own_code.by_value import dumps
from isoshare.evaluators.user_function import UserFunction
from isoshare.search.drivers.heartbeat import heartbeat
from isoshare.search.drivers.inline import run_inline
from isoshare.search.drivers.interrupt import interruption
from isoshare.search.engine import Engine
from isoshare.search.jobs import Progress
from isoshare.search.workflows.launch import start
from isoshare.search.workflows.preparation.prepared import Prepared
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
    is_here = options.n_jobs == 1 and options.ray_address is None
    if not is_here and isinstance(prepared.evaluator, UserFunction):
        dumps(prepared.evaluator, "the function")  # told here, before Ray is started
    with ExitStack() as stack:
        engine = stack.enter_context(opened(prepared, store))
        engine.on_change = lambda: watch(engine.progress())
        engine.on_end = lambda trial: on_end(trial, engine)
        run = run_inline if is_here else _on_ray(prepared, options, stack)
        engine.stopping.begin(options.timeout)  # now: all of it is for trials
        run(engine, prepared.evaluator.ending(engine.stopping.deadline))
        if not (is_here or engine.done):
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


def _on_ray(
    prepared: Prepared, options: RunOptions, stack: ExitStack
) -> Callable[[Engine, Evaluator], None]:
    """What runs a search on Ray, which is started now and ends with ``stack``.

    An interrupted cell of a notebook is heard when Ray is up: what was imported, or started, by
    half could not be started again in the same process.
    """
    with interruption() as asked:
        from isoshare.search.drivers.ray_cluster import ray_cluster
        from isoshare.search.drivers.ray_driver import run_on_ray
        from isoshare.search.drivers.runtime_env import code_for

        code = code_for(prepared.config.backbone) if options.ray_address else ()
        share = stack.enter_context(ray_cluster(options.n_jobs, options.ray_address, code=code))
    asked.check()
    return lambda engine, measure: run_on_ray(engine, measure, options.n_jobs, share)


def begin_call(
    study: StudyRecord, store: Store, n_trials: int | None, timeout: float | None
) -> int:
    """How many trials the study is to have when this call has ended.

    n_trials: so many more than there are; None: 40, or whatever fits into ``timeout``. A call that
    was interrupted is taken up by the same call again: it goes on to what was asked for then, and
    so does one that names no number. Raises IsoshareError.
    """
    if n_trials is not None and not (isinstance(n_trials, Integral) and n_trials >= 1):
        raise IsoshareError(f"n_trials has to be at least 1, a whole number, got {n_trials!r}")
    if timeout is not None and not (isinstance(timeout, Real) and timeout > 0):
        raise IsoshareError(f"timeout has to be seconds, more than 0, got {timeout!r}")
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
