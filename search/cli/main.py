"""The command line of Isoshare: it parses, calls and prints; what happens is decided elsewhere.

Nothing heavy is imported before a command needs it, so that help answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isoshare.search.cli import options
from isoshare.search.cli.completion import study_names
from isoshare.search.cli.session import search_on_terminal, train_on_terminal
from isoshare.search.cli.terminal import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG,
    as_called,
    fail,
    open_console,
    print_json,
    program,
    usage_message,
    with_epochs,
    with_spinner,
    writing,
)

if TYPE_CHECKING:
    from isoshare.search.config import SearchConfig
    from isoshare.search.workflows.prepared import Prepared
    from isoshare.search.workflows.reproduce import Reproduction
    from isoshare.storage.store import Store

app = typer.Typer(
    help="Search which convolutions of a CNN can share their weights, and take the best plan home.",
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
    repeats: options.Repeats = None,
    rungs: options.Rungs = None,
    reduction_factor: options.ReductionFactor = None,
    stop_at: options.StopAt = None,
    driver: options.Driver = None,
    table: options.Table = None,
    max_parameters: options.MaxParameters = None,
    max_macs: options.MaxMacs = None,
    max_bytes: options.MaxBytes = None,
    min_accuracy: options.MinAccuracy = None,
    seed: options.Seed = None,
    storage: options.Storage = None,
    ray_address: options.RayAddress = None,
    cpus_per_trial: options.CpusPerTrial = None,
    gpus_per_trial: options.GpusPerTrial = None,
    out: options.Out = None,
) -> None:
    """Search a network for its best sharing plans.

    Without --backbone: a first search of minutes, a small ResNet on digits with settings for it.

    Example: run_search.py launch --backbone resnet_cifar --backbone-arg depth=20
    --dataset digits --trials 60
    """
    given = {key: value for key, value in locals().items() if value is not None}
    file = given.pop("config", None)
    prepared, store = with_spinner("preparing", lambda: _prepare_launch(file, given))
    raise SystemExit(search_on_terminal(prepared, store))


@app.command()
def resume(
    name: options.Name,
    trials: options.NewBudget = None,
    workers: options.Workers = None,
    data_folder: options.MovedData = None,
    backbone: options.TrustedBackbone = None,
    storage: options.Storage = None,
    ray_address: options.RayAddress = None,
    out: options.Out = None,
) -> None:
    """Go on with an interrupted search, or give a finished one more trials.

    Example: run_search.py resume digits-resnet_cifar-1 --trials 80
    """
    given = {"trials": trials, "workers": workers, "data_folder": data_folder}
    given |= {"ray_address": ray_address, "out": out, "backbone": backbone}
    changes = {key: value for key, value in given.items() if value is not None}
    prepared, store = with_spinner("preparing", lambda: _prepare_resume(name, storage, changes))
    raise SystemExit(search_on_terminal(prepared, store))


@app.command()
def studies(
    as_json: options.Json = False,
    delete: options.DeleteStudy = None,
    archive: options.ArchiveStudy = None,
    output: options.ArchiveFile = None,
    restore: options.RestoreStudy = None,
    name: options.RestoreAs = None,
    yes: options.Yes = False,
    storage: options.Storage = None,
) -> None:
    """List the studies of a database; delete one, or carry one to another database in a file.

    Example: run_search.py studies --archive digits-resnet_cifar-1 -o study.gz
    """
    from isoshare.search.results.listing import studies_json, studies_table

    store, console = _store(storage), open_console()
    asked = (delete, archive, output, restore, name)
    if any(part is not None for part in asked):
        from isoshare.search.workflows.manage import Request, carry_out, in_short

        request = Request(*asked)
        if delete is not None and not yes:
            typer.confirm(f"delete {in_short(store, delete)}?", abort=True, err=True)
        work = partial(carry_out, request, store)
        done = with_spinner("working", lambda: writing(output or Path(), work))
        console.print(done, highlight=False, soft_wrap=True)
    elif as_json:
        print_json(studies_json(store.studies()))
    elif known := store.studies():
        console.print(studies_table(known))
    else:
        console.print(f"no studies yet: '{program()} launch' makes one")


@app.command()
def pareto(
    name: options.Name,
    as_json: options.Json = False,
    html: options.Html = None,
    png: options.Png = None,
    storage: options.Storage = None,
) -> None:
    """Show the Pareto front of a study.

    Example: run_search.py pareto digits-resnet_cifar-1 --html front.html
    """
    from isoshare.search.results.drawing import write_html, write_png
    from isoshare.search.results.figures import front_figure
    from isoshare.search.results.study_results import load_results
    from isoshare.search.results.tables import front_json, front_table

    results = load_results(_store(storage), name)
    if html is not None:
        writing(html, partial(write_html, front_figure(results)))
    if png is not None:
        writing(png, partial(write_png, front_figure(results)))
    if as_json:
        print_json(front_json(results))
    elif html is None and png is None:
        open_console().print(front_table(results))


@app.command()
def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|model.safetensors",
            help="A study, or a trained file.",
            autocompletion=study_names,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")
    ],
    format: options.Format = "json",
    best: options.Best = None,
    max_parameters: Annotated[
        int | None, typer.Option(metavar="N", help="The most accurate plan that is this small.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(metavar="X", help="The smallest plan that is this accurate.")
    ] = None,
    trial: Annotated[int | None, typer.Option(metavar="N", help="This trial.")] = None,
    bake: Annotated[
        bool, typer.Option("--bake", help="onnx: each site with a kernel of its own.")
    ] = False,
    image: options.Image = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", show_default="60", help="Of a training that weights need."),
    ] = None,
    backbone: options.TrustedBackbone = None,
    storage: options.Storage = None,
) -> None:
    """Write the plan of one trial as a file, or the trained network.

    A study keeps no weights: for safetensors and onnx its plan is trained first, as by train, or a
    file that train has written is named in place of the study.

    Example: run_search.py export digits-resnet_cifar-1 --max-parameters 2500 -o plan.json
    """
    from isoshare.search.results.choose import Choice
    from isoshare.search.results.study_results import load_results
    from isoshare.search.workflows.export import FORMATS, ExportOptions, Source, source_of

    choice = Choice(best, max_parameters, min_accuracy, trial)
    source = source_of(target, choice, lambda: load_results(_store(storage), target))
    row, asked = FORMATS[format], ExportOptions(bake, image, backbone)
    row.check(source, asked)
    if row.needs_weights and source.weights is None:
        weights = output.with_suffix(".safetensors")
        given = {"epochs": epochs, "backbone": backbone}
        given = {key: value for key, value in given.items() if value is not None}
        said = f"a study keeps no weights: training the plan of {source.words} first"
        open_console(stderr=True).print(said, highlight=False)
        train_on_terminal(source.plan, weights, "fresh", False, given)
        source = Source(weights=weights)
    said = writing(output, lambda path: row.write(source, path, asked))
    open_console().print(said, highlight=False, soft_wrap=True)


@app.command()
def report(
    name: options.Name,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="report.html", help="Where to write it.")
    ],
    trial: Annotated[
        int | None, typer.Option(metavar="N", show_default="the knee", help="Its plan is shown.")
    ] = None,
    storage: options.Storage = None,
) -> None:
    """Write one page about a study, to be sent to a colleague: it needs no other file.

    Example: run_search.py report digits-resnet_cifar-1 -o report.html
    """
    from isoshare.search.results.choose import trial_by_number
    from isoshare.search.results.report import write_report
    from isoshare.search.results.study_results import load_results

    results = load_results(_store(storage), name)
    shown = None if trial is None else trial_by_number(results, trial)
    writing(output, lambda path: write_report(results, path, shown))
    size = output.stat().st_size / 1e6
    open_console().print(f"wrote {output} ({size:.1f} MB, everything inside)", highlight=False)


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
    backbone: options.TrustedBackbone = None,
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
    raise SystemExit(train_on_terminal(plan, output, init, as_json, given))


@app.command()
def reproduce(
    plan: Annotated[Path, typer.Argument(metavar="plan.json", help="A plan that was exported.")],
    backbone: options.TrustedBackbone = None,
    as_json: options.Json = False,
) -> None:
    """Train a plan again as its search did, and compare; exit code 1 if it differs beyond noise.

    Example: run_search.py reproduce plan.json
    """
    from isoshare.search.results.tables import reproduction_view

    def prepare() -> Reproduction:
        from isoshare.search.workflows.reproduce import prepare_reproduction

        return prepare_reproduction(plan, backbone)

    request = with_spinner("preparing", prepare)
    from isoshare.search.workflows.reproduce import run_reproduction

    found = with_epochs(partial(run_reproduction, request), "{}")
    if as_json:
        print_json(found)
    else:
        open_console().print(reproduction_view(found))
    raise SystemExit(FAILED if found["verdict"] == "differs" else DONE)


@app.command()
def inspect(
    target: Annotated[str | None, typer.Argument(metavar="[BACKBONE|plan.json]")] = None,
    backbone_arg: options.Arguments = None,
    published: Annotated[
        bool, typer.Option("--published", help="List the papers' networks and plans instead.")
    ] = False,
    backbone: options.TrustedBackbone = None,
    as_json: options.Json = False,
) -> None:
    """Show what a backbone can share, or what a plan makes of its backbone.

    Example: run_search.py inspect torchvision.models:resnet18
    """
    from isoshare.search.config import parse_argument
    from isoshare.search.results.tables import backbone_view, plan_view, published_table
    from isoshare.search.workflows.inspect import inspect_backbone, inspect_plan, published_plans
    from isoshare.space.errors import IsoshareError

    if published == (target is not None):
        raise IsoshareError("inspect takes either a backbone, a plan file, or --published")
    found: Any
    view: Callable[[Any], Any]
    if target is None:
        found, view = published_plans(), published_table
    elif target.endswith(".json") or Path(target).is_file():
        found, view = inspect_plan(Path(target), backbone), plan_view
    else:
        arguments = dict(map(parse_argument, backbone_arg or []))
        found, view = inspect_backbone(target, arguments), backbone_view
    if as_json:
        print_json(found)
    else:
        open_console().print(view(found))


@app.command()
def upgrade(storage: options.Storage = None) -> None:
    """Lead a database of an earlier version to this one; its studies stay as they are.

    Example: run_search.py upgrade --storage sqlite:///isoshare.db
    """
    from isoshare.search.workflows.manage import upgrade_database

    store = _store(storage)
    done = with_spinner("upgrading", lambda: upgrade_database(store))
    open_console().print(done, highlight=False)


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
    from isoshare.search.service.server import serve
    from isoshare.search.service.settings import make_settings

    serve(make_settings(given), typer.echo)


def main() -> None:
    """Run a command; a wrong request is one sentence on stderr and exit code 2."""
    from isoshare.space.errors import IsoshareError

    sys.path.append(str(Path.cwd()))  # --backbone my_module:network of the current folder
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    for command in app.registered_commands:
        command.help = as_called(getdoc(command.callback) or "")
    try:
        raise SystemExit(app(prog_name=Path(sys.argv[0]).name, standalone_mode=False) or DONE)
    except IsoshareError as error:
        fail(str(error), WRONG)
    except typer.TyperException as error:
        fail(usage_message(error), WRONG)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", INTERRUPTED)


def _prepare_launch(file: Path | None, given: dict[str, Any]) -> tuple[Prepared, Store]:
    from isoshare.search.config import load_config, parse_argument

    for key in ("methods", "objectives", "rungs"):
        if key in given:
            given[key] = tuple(given[key].split(","))
    if "backbone_arg" in given:
        given["backbone_arg"] = dict(map(parse_argument, given["backbone_arg"]))
    config: SearchConfig = load_config(file, given)
    store = _store(config.storage)

    from isoshare.search.workflows.launch import prepare

    return prepare(config, store), store


def _prepare_resume(
    name: str, storage: str | None, changes: dict[str, Any]
) -> tuple[Prepared, Store]:
    store = _store(storage)
    store.check_idle(name)  # an unknown or running study is told before torch is imported

    from isoshare.search.workflows.launch import prepare_resume

    return prepare_resume(name, store, changes), store


def _store(url: str | None) -> Store:
    from isoshare.storage.database import default_url
    from isoshare.storage.store import Store

    return Store(url or default_url())


if __name__ == "__main__":
    main()
