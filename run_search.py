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

if TYPE_CHECKING:
    from rich.console import Console

    from search.config import SearchConfig
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

Name = Annotated[str, typer.Argument(metavar="STUDY", help="The name of a study.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other tools.")]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        show_default="sqlite:///isoshare.db, or ISOSHARE_STORAGE",
        help="The database of the studies.",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", help="An argument of the backbone; may be repeated."),
]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        show_default="isoshare-out/STUDY",
        help="Where the picture and the plan are written.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="one a CPU", help="Trainings that run side by side."),
]
Count = partial(typer.Option, metavar="N")
RayAddress = Annotated[
    str | None, typer.Option(metavar="A", help="An existing Ray cluster to run on.")
]


@app.command()
def launch(
    config: Annotated[
        Path | None,
        typer.Option(metavar="F.toml", help="Read options from a file; those given here win."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default="DATASET-BACKBONE-N", help="What the search is called."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="B",
            show_default="a small resnet_cifar",
            help="For small images convmixer, dacnn_mix, dacnn_plain, densenet_bc, fashion_cnn, "
            "resnet_cifar, resnet_small_images, se_resnet; for large ones resnet18, resnet34, "
            "resnet50, resnet101, resnext50, densenet121, mobilenet_v2, mobilenet_v2_expanded, "
            "shufflenet_v2; or package.module:function of your own.",
        ),
    ] = None,
    backbone_arg: Arguments = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            show_default="digits",
            help="digits, cifar10, cifar100, svhn, fashion_mnist, or folder:PATH with "
            "train/CLASS/ and test/CLASS/, or CLASS/.",
        ),
    ] = None,
    subset: Annotated[int | None, Count(help="Only so many training images, stratified.")] = None,
    resolution: Annotated[int | None, Count(help="Shrink images to NxN pixels.")] = None,
    channels: Annotated[
        int | None, typer.Option(metavar="1|3", help="Make images grey, or repeat grey.")
    ] = None,
    data_folder: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", show_default="the cache folder", help="Where downloads are, or go."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            show_default="kernel,anchored,filter_basis,slice_generator",
            help="How sites may share: kernel, one for several; anchored, and private 1x1 "
            "regulators; filter_basis, shared filters and private coefficients; slice_generator, "
            "kernels made from codes.",
        ),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            show_default="accuracy,parameters",
            help="What is traded against what: accuracy, parameters, spikes.",
        ),
    ] = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            metavar="E",
            show_default="train",
            help="How a plan is measured: train, a short training from scratch; spiking, a spiking "
            "network that is trained through it.",
        ),
    ] = None,
    time_steps: Annotated[int | None, Count(show_default="15", help="Of spiking neurons.")] = None,
    trials: Annotated[int | None, Count(show_default="40", help="Plans to measure.")] = None,
    epochs: Annotated[int | None, Count(show_default="15", help="Length of a training.")] = None,
    replicates: Annotated[
        int | None, Count(show_default="2", help="Trainings of a plan, one a seed.")
    ] = None,
    batch_size: Annotated[int | None, Count(show_default="64", help="Images a step.")] = None,
    optimizer: Annotated[
        Literal["sgd", "adamw"] | None,
        typer.Option(show_default="sgd", help="How a network learns."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", show_default="0.1", help="The peak of the schedule."),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            show_default="0.2",
            help="Fraction of the training images that is kept for measuring.",
        ),
    ] = None,
    workers: Workers = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="S", show_default="tpe", help="Who proposes plans: tpe, nsga2 or random."
        ),
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(metavar="N", help="Never measure a larger network.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", show_default="0", help="The same seed repeats the search."),
    ] = None,
    storage: Storage = None,
    ray_address: RayAddress = None,
    out: Out = None,
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
    name: Name,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="A new budget, at least what there is.")
    ] = None,
    workers: Workers = None,
    storage: Storage = None,
    ray_address: RayAddress = None,
    out: Out = None,
) -> None:
    """Go on with an interrupted search, or give a finished one more trials.

    Example: run_search.py resume digits-resnet_cifar-1 --trials 80
    """
    options = {"trials": trials, "workers": workers, "ray_address": ray_address, "out": out}
    changes = {key: value for key, value in options.items() if value is not None}
    prepared, store = _with_spinner("preparing", lambda: _prepare_resume(name, storage, changes))
    raise SystemExit(_search(prepared, store))


@app.command()
def studies(as_json: Json = False, storage: Storage = None) -> None:
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
    name: Name,
    as_json: Json = False,
    html: Annotated[
        Path | None, typer.Option(metavar="F", help="Write the interactive picture.")
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="F", help="Write the picture.")] = None,
    storage: Storage = None,
) -> None:
    """Show the Pareto front of a study.

    Example: run_search.py pareto digits-resnet_cifar-1 --html front.html
    """
    from search.results.figures import front_figure, write_html, write_png
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
    name: Name,
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
    storage: Storage = None,
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
def inspect(
    target: Annotated[str | None, typer.Argument(metavar="[BACKBONE|plan.json]")] = None,
    backbone_arg: Arguments = None,
    published: Annotated[
        bool, typer.Option("--published", help="List the papers' networks and plans instead.")
    ] = False,
    as_json: Json = False,
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
    from search.view import open_view

    config, name, console = prepared.config, prepared.study.name, _console()
    for warning in prepared.warnings:
        typer.echo(f"warning: {warning}", err=True)
    with ExitStack() as stack:
        cluster = ray_cluster(config.workers, config.ray_address)
        _with_spinner("starting Ray", lambda: stack.enter_context(cluster))
        engine = start(prepared, store)  # the study is stored when nothing can be wrong any more
        console.print(_headline(prepared, engine.budget), highlight=False, soft_wrap=True)
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


def _headline(prepared: Prepared, trials: int) -> str:
    from rich.markup import escape

    from search.results.words import counted

    config = prepared.config
    return (
        f"study [bold]{prepared.study.name}[/]: {prepared.space.count():,} plans of "
        f"{config.backbone} on {escape(config.dataset)}, {counted(trials, 'trial')} of "
        f"{counted(config.epochs, 'epoch')} and {counted(config.replicates, 'seed')}"
    )


def _show(results: Results, folder: Path) -> int:
    """The front as table, picture and plan, and what to type next."""
    from search.results.summary import next_commands, write_results
    from search.results.tables import front_table

    if not results.front.members:
        reason = next(trial.error for trial in results.trials)
        _fail(f"all {len(results.trials)} trials failed; the first one: {reason}", FAILED)
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


def _console() -> Console:
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 140  # a pipe has no width: do not break lines for it
    return Console(width=wide)


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
