"""Commands about one plan or one network: train, solve, reproduce, inspect."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isoshare.search.cli import options
from isoshare.search.cli.completion import backbone_names
from isoshare.search.cli.option_types import takes
from isoshare.search.cli.session import train_on_terminal
from isoshare.search.cli.solving import solve_on_terminal
from isoshare.search.cli.terminal import (
    DONE,
    FAILED,
    open_console,
    print_json,
    spinner,
    with_epochs,
)
from isoshare.search.options import OPTIONS, RESUME_OPTIONS
from isoshare.search.options.full_training import EPOCHS, OF_THE_SEARCH, OF_VARIANTS, OWN, WEIGHTS

if TYPE_CHECKING:
    pass

TRAIN_OPTIONS = {
    "backbone": RESUME_OPTIONS["backbone"],
    **{name: OPTIONS[name] for name in (*OWN, *OF_THE_SEARCH)},
}
SOLVE_OPTIONS = {
    name: OPTIONS[name]
    for name in (
        *("backbone_arg", "vary", *WEIGHTS, "methods", "dataset", "subset", "resolution"),
        *("channels", "data_folder", "max_parameters", "max_bytes", "max_macs"),
        *("max_device_bytes", "max_device_bytes_int8", *OF_VARIANTS),
    )
}
WEIGHT_OPTIONS = {name: OPTIONS[name] for name in WEIGHTS}
TRAIN_DEFAULTS = {**dict.fromkeys(OF_THE_SEARCH, "as in its search"), "epochs": str(EPOCHS)}


@takes(TRAIN_OPTIONS, **TRAIN_DEFAULTS)
def train(
    given: dict[str, Any],
    plan: Annotated[
        Path, typer.Argument(metavar="plan.json", help="A plan file that names its backbone.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="model.safetensors", help="Where to write the weights."
        ),
    ],
    init: Annotated[
        Literal["fresh", "inherit"],
        typer.Option(
            help="Start from fresh weights, or from an unshared network that is trained first."
        ),
    ] = "fresh",
    share_from: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Train the unshared network first, for this fraction of the epochs."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train the network of a plan fully and write its weights.

    The same command resumes an interrupted training.

    Example: isoshare train plan.json --dataset digits --epochs 60 -o model.safetensors
    """
    code = train_on_terminal(plan, output, init, as_json, given, share_from=share_from)
    raise SystemExit(code)


@takes(SOLVE_OPTIONS)
def solve(
    given: dict[str, Any],
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", autocompletion=backbone_names)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="plan.json", help="Where to write the plan."),
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(metavar="F.csv", help="Write the predicted front, and F.png, its picture."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Find the plan for a budget from a trained network, without a search.

    What sharing costs is measured once, in minutes, and kept: another budget is another second.
    With --vary the best variant is found too; each is trained first, as it is and fully shared.

    Example: isoshare solve resnet18 --weights my.pt --dataset folder:images
    --max-bytes 20000000 -o plan.json
    """
    raise SystemExit(solve_on_terminal(backbone, output, sweep, as_json, given))


def reproduce(
    plan: Annotated[Path, typer.Argument(metavar="plan.json", help="An exported plan file.")],
    backbone: options.TrustedBackbone = None,
    as_json: options.Json = False,
) -> None:
    """Repeat the measurements of a plan and compare them.

    Exit code 1 if they differ by more than noise.

    Example: isoshare reproduce plan.json
    """
    from isoshare.search.results.tables import reproduction_view

    with spinner("preparing"):
        from isoshare.search.workflows.reproduce import prepare_reproduction, run_reproduction

        request = prepare_reproduction(plan, backbone)
    found = with_epochs(partial(run_reproduction, request), "{}")
    if as_json:
        print_json(found)
    else:
        open_console().print(reproduction_view(found))
    raise SystemExit(FAILED if found["verdict"] == "differs" else DONE)


@takes(WEIGHT_OPTIONS)
def inspect(
    given: dict[str, Any],
    target: Annotated[str | None, typer.Argument(metavar="[BACKBONE|plan.json]")] = None,
    backbone_arg: options.Arguments = None,
    published: Annotated[
        bool, typer.Option("--published", help="List the papers' networks and plans instead.")
    ] = False,
    backbone: options.TrustedBackbone = None,
    as_json: options.Json = False,
) -> None:
    """Show what a backbone can share, or what a plan does to it.

    Example: isoshare inspect torchvision.models:resnet18
    """
    from isoshare.search.options.words import parse_arguments
    from isoshare.search.results.tables import backbone_view, plan_view, published_table
    from isoshare.search.workflows.inspect import (
        inspect_backbone,
        inspect_plan,
        inspect_weights,
        published_plans,
    )
    from isoshare.space.errors import IsoshareError

    if published == (target is not None):
        raise IsoshareError("inspect takes either a backbone, a plan file, or --published")
    is_plan = target is not None and (target.endswith(".json") or Path(target).is_file())
    if given and (published or is_plan):
        raise IsoshareError("weights are looked at for a backbone: inspect BACKBONE --weights FILE")
    found: Any
    view: Callable[[Any], Any]
    if target is None:
        found, view = published_plans(), published_table
    elif is_plan:
        found, view = inspect_plan(Path(target), backbone), plan_view
    else:
        arguments = parse_arguments(backbone_arg or [])
        found, view = inspect_backbone(target, arguments), backbone_view
        if given:
            found["weights"] = inspect_weights(target, arguments, given)
    if as_json:
        print_json(found)
    else:
        open_console().print(view(found))
