"""The command line of Isoshare: it parses, calls and prints; what happens is decided elsewhere.

Nothing heavy is imported before a command needs it, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from search import options

if TYPE_CHECKING:
    from rich.console import Console

    from search.config import SearchConfig
    from search.full_training import FullTraining
    from search.results.pareto import Results
    from search.runner import Prepared
    from storage.store import Store

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    help="Search which convolutions of a CNN can share their weights, and take the best plan home.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command()
def launch(
    config: options.ConfigFile = None,
    study: options.StudyName = None,
    backbone: options.Backbone = None,
    backbone_arg: options.Arguments = None,
    dataset: options.Dataset = None,
    subset: options.Subset = None,
    resolution: options.Resolution = None,
    channels: options.Channels = None,
    data_folder: options.DataFolder = None,
    methods: options.Methods = None,
    objectives: options.Objectives = None,
    evaluator: options.Evaluator = None,
    pretrain_epochs: options.PretrainEpochs = None,
    weights: options.Weights = None,
    time_steps: options.TimeSteps = None,
    trials: options.Trials = None,
    epochs: options.Epochs = None,
    replicates: options.Replicates = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    label_smoothing: options.LabelSmoothing = None,
    augment: options.Augment = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    validation: options.Validation = None,
    workers: options.Workers = None,
    sampler: options.Sampler = None,
    max_parameters: options.MaxParameters = None,
    max_macs: options.MaxMacs = None,
    max_bytes: options.MaxBytes = None,
    min_accuracy: options.MinAccuracy = None,
    seed: options.Seed = None,
    storage: options.Storage = None,
    ray_address: options.RayAddress = None,
    out: options.Out = None,
) -> None:
    """Search a network for its best sharing plans.

    Without --backbone: a first search of minutes, a small ResNet on digits with settings for it.

    Example: run_search.py launch --backbone resnet_cifar --backbone-arg depth=20
    --dataset digits --trials 60
    """
    given = {key: value for key, value in locals().items() if value is not None}
    file = given.pop("config", None)
    prepared, store = _with_spinner("preparing", lambda: _prepare_launch(file, given))
    raise SystemExit(_search(prepared, store))


@app.command()
def resume(
    name: options.Name,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="A new budget, at least what there is.")
    ] = None,
    workers: options.Workers = None,
    storage: options.Storage = None,
    ray_address: options.RayAddress = None,
    out: options.Out = None,
) -> None:
    """Go on with an interrupted search, or give a finished one more trials.

    Example: run_search.py resume digits-resnet_cifar-1 --trials 80
    """
    given = {"trials": trials, "workers": workers, "ray_address": ray_address, "out": out}
    changes = {key: value for key, value in given.items() if value is not None}
    prepared, store = _with_spinner("preparing", lambda: _prepare_resume(name, storage, changes))
    raise SystemExit(_search(prepared, store))


@app.command()
def studies(as_json: options.Json = False, storage: options.Storage = None) -> None:
    """List the studies of a database.

    Example: run_search.py studies --json
    """
    from search.results.tables import studies_json, studies_table

    known = _store(storage).studies()
    if as_json:
        _print_json(studies_json(known))
    elif known:
        _console().print(studies_table(known))
    else:
        _console().print("no studies yet: 'run_search.py launch' makes one")


@app.command()
def pareto(
    name: options.Name,
    as_json: options.Json = False,
    html: Annotated[
        Path | None, typer.Option(metavar="F", help="Write the interactive picture.")
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="F", help="Write the picture.")] = None,
    storage: options.Storage = None,
) -> None:
    """Show the Pareto front of a study.

    Example: run_search.py pareto digits-resnet_cifar-1 --html front.html
    """
    from search.results.drawing import write_html, write_png
    from search.results.figures import front_figure
    from search.results.pareto import load_results
    from search.results.tables import front_json, front_table

    results = load_results(_store(storage), name)
    if html is not None:
        _writing(html, partial(write_html, front_figure(results)))
    if png is not None:
        _writing(png, partial(write_png, front_figure(results)))
    if as_json:
        _print_json(front_json(results))
    elif html is None and png is None:
        _console().print(front_table(results))


@app.command()
def export(
    name: options.Name,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="plan.json", help="Where to write the plan.")
    ],
    best: Annotated[
        Literal["knee", "accuracy", "smallest"] | None,
        typer.Option(help="Which plan of the front."),
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(metavar="N", help="The most accurate plan that is this small.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(metavar="X", help="The smallest plan that is this accurate.")
    ] = None,
    trial: Annotated[int | None, typer.Option(metavar="N", help="This trial.")] = None,
    storage: options.Storage = None,
) -> None:
    """Write the plan of one trial as a file.

    Example: run_search.py export digits-resnet_cifar-1 --max-parameters 2500 -o plan.json
    """
    from search.results.export import choose, plan_file, trial_by_number
    from search.results.pareto import load_results

    results = load_results(_store(storage), name)
    if trial is not None:
        chosen = trial_by_number(results, trial)
    else:
        chosen = choose(results.front, best, max_parameters, min_accuracy)
    _writing(output, plan_file(results.study, chosen).save)
    _console().print(f"wrote the plan of trial {chosen.number} to {output}", highlight=False)


@app.command()
def train(
    plan: Annotated[Path, typer.Argument(metavar="plan.json", help="A plan with its backbone.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="model.safetensors", help="Where to write weights."),
    ],
    init: Annotated[
        Literal["fresh", "inherit"],
        typer.Option(
            help="Start from fresh weights, or from an unshared network that is trained first."
        ),
    ] = "fresh",
    epochs: options.Epochs = None,
    dataset: options.Dataset = None,
    subset: options.Subset = None,
    resolution: options.Resolution = None,
    channels: options.Channels = None,
    data_folder: options.DataFolder = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    label_smoothing: options.LabelSmoothing = None,
    augment: options.Augment = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Train the network of a plan fully and write its weights; the same command resumes it.

    Example: run_search.py train plan.json --dataset digits --epochs 60 -o model.safetensors
    """
    given = {key: value for key, value in locals().items() if value is not None}
    for key in ("plan", "output", "init", "as_json"):
        del given[key]
    raise SystemExit(_train(plan, output, init, as_json, given))


@app.command()
def inspect(
    target: Annotated[str | None, typer.Argument(metavar="[BACKBONE|plan.json]")] = None,
    backbone_arg: options.Arguments = None,
    published: Annotated[
        bool, typer.Option("--published", help="List the papers' networks and plans instead.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show what a backbone can share, or what a plan makes of its backbone.

    Example: run_search.py inspect torchvision.models:resnet18
    """
    from search.config import parse_argument
    from search.inspection import inspect_backbone, inspect_plan, published_plans
    from search.results.tables import backbone_view, plan_view, published_table
    from space.errors import IsoshareError

    if published == (target is not None):
        raise IsoshareError("inspect takes either a backbone, a plan file, or --published")
    found: Any
    view: Callable[[Any], Any]
    if target is None:
        found, view = published_plans(), published_table
    elif target.endswith(".json") or Path(target).is_file():
        found, view = inspect_plan(Path(target)), plan_view
    else:
        arguments = dict(map(parse_argument, backbone_arg or []))
        found, view = inspect_backbone(target, arguments), backbone_view
    if as_json:
        _print_json(found)
    else:
        _console().print(view(found))


@app.command()
def serve(
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    storage: options.Storage = None,
    token_file: options.TokenFile = None,
    public_host: options.PublicHosts = None,
    allow_backbone: options.AllowedBackbones = None,
    allow_dataset: options.AllowedDatasets = None,
    searches: options.Searches = 2,
    state: options.StateFolder = Path("isoshare-service"),
) -> None:
    """Serve pages and a REST API: launch searches, watch their fronts, take plans home.

    Example: run_search.py serve --port 8000
    """
    given = {key: value for key, value in locals().items() if value is not None}
    from search.service.server import serve
    from search.service.settings import make_settings

    serve(make_settings(given), typer.echo)


def main() -> None:
    """Run a command; a wrong request is one sentence on stderr and exit code 2."""
    from space.errors import IsoshareError

    sys.path.append(str(Path.cwd()))  # --backbone my_module:network of the current folder
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        raise SystemExit(app(standalone_mode=False) or DONE)
    except IsoshareError as error:
        _fail(str(error), WRONG)
    except typer.TyperException as error:
        _fail(" ".join(_usage_message(error).split()), WRONG)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", INTERRUPTED)


def _usage_message(error: typer.TyperException) -> str:
    """What Typer found wrong with the command line, with the option it is about."""
    from pydantic import ValidationError

    message = error.format_message() if hasattr(error, "format_message") else str(error)
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        message += f", got {cause.errors()[0]['input']!r}"
    return message


def _prepare_launch(file: Path | None, given: dict[str, Any]) -> tuple[Prepared, Store]:
    from search.config import load_config, parse_argument

    for key in ("methods", "objectives"):
        if key in given:
            given[key] = tuple(given[key].split(","))
    if "backbone_arg" in given:
        given["backbone_arg"] = dict(map(parse_argument, given["backbone_arg"]))
    config: SearchConfig = load_config(file, given)
    store = _store(config.storage)

    from search.runner import prepare

    return prepare(config, store), store


def _prepare_resume(
    name: str, storage: str | None, changes: dict[str, Any]
) -> tuple[Prepared, Store]:
    store = _store(storage)
    store.study(name)  # an unknown study is told before torch is imported

    from search.runner import prepare_resume

    return prepare_resume(name, store, changes), store


def _search(prepared: Prepared, store: Store) -> int:
    """Run a prepared search to its end and show what it found; returns the exit code."""
    from search.ray_driver import DriverError, ray_cluster, run_on_ray
    from search.results.pareto import load_results
    from search.runner import start
    from search.view import headline, open_view

    config, name, console = prepared.config, prepared.study.name, _console()
    for warning in prepared.warnings:
        typer.echo(f"warning: {warning}", err=True)
    _warm_up(prepared)
    with ExitStack() as stack:
        cluster = ray_cluster(config.workers, config.ray_address)
        _with_spinner("starting Ray", lambda: stack.enter_context(cluster))
        engine = start(prepared, store)  # the study is stored when nothing can be wrong any more
        console.print(headline(prepared.study, engine.budget), highlight=False, soft_wrap=True)
        view = stack.enter_context(open_view(console))
        engine.on_change = lambda: view.update(engine.progress())
        try:
            if not engine.done:
                run_on_ray(engine, prepared.measure, config.workers)
        except DriverError as error:
            _fail(f"{error}; go on with: {_program()} resume {name}", FAILED)
    if not engine.done:
        _fail(f"interrupted; go on with: {_program()} resume {name}", INTERRUPTED)
    return _show(load_results(store, name), Path(config.out or f"isoshare-out/{name}"))


def _warm_up(prepared: Prepared) -> None:
    """What the evaluator needs once for a search, with a bar over its epochs."""
    from search.full_training import EvaluationError
    from search.view import open_epochs

    if prepared.prepare is None:
        return
    try:
        with open_epochs(_console(stderr=True)) as report:
            prepared.prepare(report)
    except EvaluationError as error:
        _fail(f"the unshared network cannot be trained: {error}", FAILED)


def _train(plan: Path, output: Path, init: Any, as_json: bool, given: dict[str, Any]) -> int:
    """Train a plan with a bar over its epochs; returns the exit code."""
    from search.view import open_epochs

    def prepare() -> FullTraining:
        from search.full_training import prepare_training

        return prepare_training(plan, output, init, given)

    training = _with_spinner("preparing", prepare)
    for warning in training.warnings:
        typer.echo(f"warning: {warning}", err=True)
    from search.full_training import EvaluationError, run_training

    try:
        with open_epochs(_console(stderr=True)) as report:
            done = run_training(training, report)
    except EvaluationError as error:
        _fail(f"{error}; a lower --learning-rate may help", FAILED)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    if as_json:
        _print_json(done)
    else:
        _console().print(
            f"{done['test_accuracy']:.4f} of the test images are right; wrote "
            f"{done['parameters']:,} parameters ({done['bytes']:,} bytes) to {output}\n\n"
            f"in Python\n  from space.weights import load_network\n"
            f"  network = load_network({str(output)!r})",
            highlight=False,
        )
    return DONE


def _show(results: Results, folder: Path) -> int:
    """The front as table, picture and plan, and what to type next."""
    from search.results.summary import next_commands, why_empty, write_results
    from search.results.tables import front_table

    if not results.front.members:
        _fail(why_empty(results), FAILED)
    _writing(folder, partial(write_results, results))
    console = _console()
    console.print(front_table(results))
    console.print(
        f"picture  {folder / 'front.html'}\nplan     {folder / 'plan.json'} (the knee ◆)\n\nnext",
        *(f"  {_program()} {command}" for command in next_commands(results, folder)),
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )
    return DONE


def _store(url: str | None) -> Store:
    from storage.database import default_url
    from storage.store import Store

    return Store(url or default_url())


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() else 140  # a pipe has no width: do not break lines for it
    return Console(width=wide, stderr=stderr)


def _with_spinner(text: str, work: Callable[[], Any]) -> Any:
    """Importing torch and reading data takes seconds: say so on a terminal."""
    console = _console()
    if not console.is_terminal:
        return work()
    with console.status(text):
        return work()


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _writing(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file; a path that cannot be written is a wrong request."""
    from space.errors import IsoshareError

    try:
        write(path)
    except OSError as error:
        raise IsoshareError(f"cannot write {path}: {error.strerror}") from error


def _program() -> str:
    """How this program was called, so that the commands it suggests can be typed as they are."""
    if Path(sys.argv[0]).name != "run_search.py":
        return Path(sys.argv[0]).name
    python = Path(sys.executable)
    local = python.is_relative_to(Path.cwd())
    return f"{python.relative_to(Path.cwd()) if local else 'python'} {os.path.relpath(sys.argv[0])}"


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
