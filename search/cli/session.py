"""What launch, resume and train do on a terminal: run, show progress, suggest what is next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.search.cli.terminal import (
    DONE,
    FAILED,
    INTERRUPTED,
    fail,
    open_console,
    print_json,
    program,
    spinner,
    warn,
    with_epochs,
    writing,
)

if TYPE_CHECKING:
    from rich.console import Console

    from isoshare.evaluators.evaluator import Evaluator
    from isoshare.search.engine import Engine
    from isoshare.search.results.study_results import Results
    from isoshare.search.workflows.preparation.prepared import Prepared
    from isoshare.space.plan import PlanFile
    from isoshare.storage.store import Store


def search_on_terminal(prepared: Prepared, store: Store) -> int:
    """Run a prepared search to its end and show what it found; returns the exit code."""
    from isoshare.search.cli.progress import headline, open_view
    from isoshare.search.drivers.interrupt import check_heard
    from isoshare.search.jobs import DriverError
    from isoshare.search.results.study_results import load_results
    from isoshare.search.results.summary import trust
    from isoshare.search.workflows.preparation.foresight import is_unforeseen
    from isoshare.storage.opening.database import WriteError

    config, name, console = prepared.config, prepared.study.name, open_console()
    resume = f"{program()} resume {name}{trust(config.backbone, config.document())}"
    for note in prepared.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    for warning in prepared.warnings:
        warn(warning)
    with ExitStack() as stack:
        # A new study is stored when nothing can be wrong any more, an old one may be at its end.
        waits = prepared.is_new or is_unforeseen(prepared, store)
        engine = None if waits else _begin(prepared, store, stack)
        try:
            run = None if engine is not None and engine.done else _driver(prepared, stack)
            prepared = prepared if engine is not None else _foreseeing(prepared)
            check_heard()
        except KeyboardInterrupt:  # what the unshared network has learnt so far is kept
            if prepared.is_new:
                store.create_study(prepared.study)
            fail(f"interrupted before the first trial; go on with: {resume}", INTERRUPTED)
        engine = engine or _begin(prepared, store, stack)
        console.print(headline(prepared.study, engine.budget), highlight=False, soft_wrap=True)
        if run is not None:
            _tell_cost(prepared, engine, console)
        engine.stopping.begin(config.seconds)  # now, as in Python: all of it is for trials
        deadline = engine.stopping.deadline
        view = stack.enter_context(open_view(console, deadline))
        engine.on_change = lambda: view.update(engine.progress())
        try:
            if run is not None:
                run(engine, prepared.evaluator.ending(deadline), config.workers)
        except (DriverError, WriteError) as error:
            fail(f"{error}; go on with: {resume}", FAILED)
    if engine.stopping.time_is_up:
        warn(f"the time is up, {config.timeout}; go on with: {resume}")
    elif not engine.done:
        fail(f"interrupted; go on with: {resume}", INTERRUPTED)
    return _show(load_results(store, name), Path(config.out or f"isoshare-out/{name}"))


def tell_outlook(prepared: Prepared, as_json: bool) -> int:
    """Say what a search would do; returns the exit code."""
    from isoshare.search.results.tables import outlook_view
    from isoshare.search.workflows.outlook import outlook

    with spinner("training some steps"):
        found = outlook(prepared)
    if as_json:
        print_json(found)
        return DONE
    for warning in prepared.warnings:
        warn(warning)
    open_console().print(outlook_view(found), highlight=False)
    return DONE


def _tell_cost(prepared: Prepared, engine: Engine, console: Console) -> None:
    """Say what the search will take, or that a function of the user's own has yet to show it."""
    from isoshare.evaluators import is_own_evaluator
    from isoshare.search.results.describe import pace_in_words, unknown_pace
    from isoshare.search.workflows.preparation.cost import trial_seconds

    state, config = engine.progress(), prepared.config
    left = state.budget - state.finished - state.failed - state.stopped
    seconds = trial_seconds(prepared, engine.search_state.trials.values()) if left else None
    if seconds is not None:
        said = pace_in_words(seconds / min(config.workers, left), left, config.seconds)
        console.print(f"about {said}, by {config.workers} at a time", highlight=False)
    elif left and is_own_evaluator(config.evaluator):
        said = unknown_pace(config.seconds)
        console.print(f"{said}: only your function knows what a trial takes", highlight=False)


def _begin(prepared: Prepared, store: Store, stack: ExitStack) -> Engine:
    """Start the study in this process and return its engine."""
    from isoshare.evaluators.data.data_cache import checkpoint_folder
    from isoshare.search.drivers.heartbeat import heartbeat, waits_told
    from isoshare.search.workflows.ends import forget_beaten
    from isoshare.search.workflows.launch import start

    engine, name = start(prepared, store), prepared.study.name
    engine.on_end = forget_beaten(engine, checkpoint_folder(name))
    stack.enter_context(heartbeat(store, name))
    stack.enter_context(waits_told(store, warn))
    return engine


def _driver(prepared: Prepared, stack: ExitStack) -> Callable[[Engine, Evaluator, int], object]:
    """The driver, ready to be called with an engine."""
    from isoshare.search.drivers.simulated import run_simulated

    config = prepared.config
    _warm_up(prepared)
    if config.driver != "ray":
        return run_simulated
    from isoshare.search.drivers.ray_cluster import ray_cluster
    from isoshare.search.drivers.ray_driver import run_on_ray
    from isoshare.search.drivers.runtime_env import code_for
    from isoshare.search.workflows.preparation.side_by_side import plans_per_worker

    share = (config.cpus_per_trial, config.gpus_per_trial)
    code = code_for(config.backbone) if config.ray_address else ()
    cluster = ray_cluster(config.workers, config.ray_address, *share, code)
    with spinner("starting Ray"):
        taken = stack.enter_context(cluster)
    plans, reason = plans_per_worker(config, prepared.evaluator)
    if reason:
        warn(reason)
    return partial(run_on_ray, share=taken, warn=warn, plans=plans)


def _warm_up(prepared: Prepared) -> None:
    """Prepare the evaluator: say what that trains, then a bar over the epochs."""
    from isoshare.search.results.describe import pretraining_in_words

    variants = prepared.space.members
    with spinner("training some steps"):
        ahead = prepared.evaluator.pretraining(variants)
    if ahead is not None:
        open_console().print(pretraining_in_words(ahead), highlight=False)
    prepare = partial(prepared.evaluator.prepare, variants=variants)
    with_epochs(prepare, "the unshared network cannot be trained: {}")


def _foreseeing(prepared: Prepared) -> Prepared:
    """With what the trained network says of its plans, where that is asked for and can be said."""
    from isoshare.search.cli.progress import MEASURING, open_steps
    from isoshare.search.workflows.preparation.foresight import with_scores
    from isoshare.space.errors import IsoshareError

    if not prepared.config.solve_first:
        return prepared
    try:
        with open_steps(open_console(), MEASURING) as heard:
            return with_scores(prepared, heard)
    except IsoshareError as error:
        warn(str(error))
        return prepared


def train_on_terminal(  # noqa: PLR0913  what is trained, and one that may be left out
    plan: Path | PlanFile,
    output: Path,
    init: Any,
    as_json: bool,
    given: dict[str, Any],
    *,
    share_from: float | None = None,
) -> int:
    """Train a plan with a bar over its epochs; returns the exit code."""
    from isoshare.search.results.tables import trained_view

    with spinner("preparing"):
        from isoshare.search.workflows.train import UnwrittenError, prepare_training, run_training

        training = prepare_training(plan, output, init, given, share_from)
    for warning in training.warnings:
        warn(warning)
    try:
        done = with_epochs(partial(run_training, training), "{}; a lower --learning-rate may help")
    except UnwrittenError as error:
        fail(str(error), FAILED)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    if as_json:
        print_json(done)
    else:
        open_console().print(trained_view(done), highlight=False)
    return DONE


def _show(results: Results, folder: Path) -> int:
    """Show the front as table, picture and plan, and the commands to type next."""
    from isoshare.search.results.summary import next_commands, why_empty, write_results
    from isoshare.search.results.tables import front_table

    if not results.front.members:
        fail(why_empty(results), FAILED)
    writing(folder, partial(write_results, results))
    console = open_console()
    console.print(front_table(results))
    console.print(
        f"picture  {folder / 'front.html'}\nplan     {folder / 'plan.json'} (the knee ◆)\n\nnext",
        *(f"  {program()} {command}" for command in next_commands(results, folder)),
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )
    return DONE
