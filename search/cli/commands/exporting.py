"""The command that writes a plan, or the trained network, in the format of another tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isoshare.search.cli import options
from isoshare.search.cli.completion import study_names
from isoshare.search.cli.option_types import takes
from isoshare.search.cli.session import train_on_terminal
from isoshare.search.cli.terminal import (
    open_console,
    open_to_read,
    with_epochs,
    writing,
)
from isoshare.search.options import OPTIONS
from isoshare.search.options.full_training import WEIGHTS

if TYPE_CHECKING:
    from isoshare.search.workflows.exporting.export import Writer
    from isoshare.search.workflows.exporting.export_source import ExportOptions, ExportSource

WEIGHT_OPTIONS = {name: OPTIONS[name] for name in WEIGHTS}


@takes(WEIGHT_OPTIONS)
def export(
    given: dict[str, Any],
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
    trial: Annotated[int | None, typer.Option(metavar="N", help="The plan of this trial.")] = None,
    bake: Annotated[
        bool, typer.Option("--bake", help="onnx: each site as an ordinary layer.")
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="tflite: quicker in LiteRT, where it takes more memory."),
    ] = False,
    image: options.Image = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="8 bits: the images to fit it to, where the file names none."
        ),
    ] = None,
    int8_epochs: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="8 bits: epochs of fine-tuning with their rounding in view."
        ),
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", show_default="60", help="The length of the training that weights need."
        ),
    ] = None,
    backbone: options.TrustedBackbone = None,
    storage: options.Storage = None,
) -> None:
    """Write the plan of one trial as a file, or the trained network.

    A study keeps no weights: for all formats but json and optuna its plan is trained first, as by
    train, or a file that train has written is named in place of the study.

    Example: isoshare export digits-resnet_cifar-1 --max-parameters 2500 -o plan.json
    """
    from isoshare.search.results.choose import Selection
    from isoshare.search.results.study_results import load_results
    from isoshare.search.workflows.exporting.export import FORMATS, check_taken
    from isoshare.search.workflows.exporting.export_source import (
        ExportOptions,
        ExportSource,
        check_output,
        source_of,
        weights_beside,
    )
    from isoshare.space.errors import IsoshareError

    choice = Selection(best, max_parameters, min_accuracy, trial)
    source = source_of(target, choice, lambda: load_results(open_to_read(storage), target))
    row = FORMATS[format]
    asked = ExportOptions(bake, image, backbone, dataset, fast, int8_epochs)
    check_taken(format, asked, "--")
    check_output(source, output, format)
    row.check(source, asked)
    if given and not (row.needs_weights and source.weights is None):
        raise IsoshareError(
            f"--{next(iter(given)).replace('_', '-')} is where a training starts, and nothing is "
            "trained here: leave it out, or export a study as safetensors or onnx"
        )
    kept = ""
    if row.needs_weights and source.weights is None:
        weights = weights_beside(output)
        more = {"epochs": epochs, "backbone": backbone}
        given |= {key: value for key, value in more.items() if value is not None}
        said = f"a study keeps no weights: training the plan of {source.words} first"
        open_console(stderr=True).print(said, highlight=False)
        train_on_terminal(source.plan, weights, "fresh", False, given)
        source, kept = ExportSource(weights=weights), f"; the trained weights are in {weights}"
    try:
        said = _written(source, output, row.write, asked)
    except IsoshareError as error:
        raise IsoshareError(f"{error}{kept}") from error
    open_console().print(said, highlight=False, soft_wrap=True)


def _written(source: ExportSource, output: Path, write: Writer, asked: ExportOptions) -> str:
    """Write the file, with a bar over the epochs of its fine-tuning; returns what was written."""
    if not asked.int8_epochs:
        return writing(output, lambda path: write(source, path, asked))
    return with_epochs(
        lambda report: writing(
            output, lambda path: write(replace(source, report=report), path, asked)
        ),
        "8 bits cannot be fine-tuned: {}",
    )
