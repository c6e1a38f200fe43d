"""Take home what a study has found, from Python: a plan, or the network that was trained by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from isoshare.search.results.choose import Selection, image_shape
from isoshare.search.results.study_results import Results
from isoshare.search.workflows.exporting.export import FORMATS, check_taken
from isoshare.search.workflows.exporting.export_source import ExportOptions, ExportSource
from isoshare.space.apply import count_parameters
from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.files import check_writable
from isoshare.space.weights.saving import shares_by
from isoshare.storage.records import TrialRecord

Format = Literal["json", "safetensors", "onnx", "onnx-int8", "tflite", "optuna"]
ENDINGS = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".db": "optuna",
}


@dataclass(frozen=True)
class Taken:
    """What the caller has beside the study; what each is says ``Study.export``."""

    network: nn.Module | None = None
    example: Tensor | None = None
    batches: Sequence[Tensor] = ()
    bake: bool = False
    int8_epochs: int = 0


def export_study(
    results: Results, trial: TrialRecord | int | None, path: Path, format: str | None, taken: Taken
) -> str:
    """Write a file; returns what was written, in words. Raises IsoshareError."""
    format = format or ENDINGS.get(path.suffix, "json")
    if format not in FORMATS:
        raise IsoshareError(one_of("format", format, FORMATS))
    check_taken(format, ExportOptions(taken.bake, int8_epochs=taken.int8_epochs))
    check_writable(path)
    row, number = FORMATS[format], trial.number if isinstance(trial, TrialRecord) else trial
    choice = Selection(trial=number)
    source = ExportSource(results, choice, network=taken.network, batches=taken.batches)
    if row.needs_weights:
        _check_network(source, format, taken)
    image = None if taken.example is None else tuple(taken.example.shape[1:])
    options = ExportOptions(taken.bake, image, int8_epochs=taken.int8_epochs)
    row.check(source, options)
    try:
        return row.write(source, path, options)
    except OSError as error:
        raise IsoshareError(f"cannot write {path}: {error.strerror}") from error


def _check_network(source: ExportSource, format: str, taken: Taken) -> None:
    """Raise IsoshareError unless what the format needs is there, and belongs to the plan."""
    if taken.network is None:
        raise IsoshareError(
            f"a study keeps no weights: share your network by the plan of {source.words} "
            f"(isoshare.apply_plan), train it, and give it: export(..., network=...)"
        )
    expected, found = source.trial.value("parameters"), count_parameters(taken.network)
    if found != expected:
        raise IsoshareError(
            f"the network has {found:,} parameters, and by the plan of {source.words} it would "
            f"have {expected:,.0f}: give the one that was shared by it"
        )
    if not shares_by(taken.network, source.plan.plan):
        raise IsoshareError(
            f"the network shares otherwise than by the plan of {source.words}: give the one that "
            "was shared by it"
        )
    if format == "onnx" and taken.example is None and image_shape(source.plan) is None:
        raise IsoshareError("ONNX files need one input: export(..., example_input=...)")
    if format in ("onnx-int8", "tflite") and not taken.batches:
        raise IsoshareError("8 bits are fitted to inputs: export(..., batches=[...])")
    if taken.int8_epochs < 0:
        raise IsoshareError(f"int8_epochs is a number of epochs, 0 or more: {taken.int8_epochs}")
