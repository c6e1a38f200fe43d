"""Write what a study found, or a trained file, in the format that is asked for.

FORMATS, one row each, is read without torch. One more format is a function of an ``ExportSource``,
a path and ``ExportOptions`` that returns a sentence for the user, and one row here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isoshare.search.results.choose import Selection, image_shape
from isoshare.search.workflows.exporting.export_source import ExportOptions, ExportSource
from isoshare.space.errors import IsoshareError
from isoshare.space.files import atomic_write
from isoshare.space.plan import PlanFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from isoshare.space.exports.int8 import Exported, Tune

Writer = Callable[[ExportSource, Path, ExportOptions], str]


@dataclass(frozen=True)
class FormatRow:
    """One row of FORMATS.

    summary: what the file holds. needs_weights: whether a study's plan has to be trained first.
    takes: the options that change what is written, by their names in ``ExportOptions``.
    check: raises IsoshareError where the format cannot be written, before anything is trained.
    """

    write: Writer
    summary: str
    needs_weights: bool = False
    takes: tuple[str, ...] = ()
    check: Callable[[ExportSource, ExportOptions], object] = lambda *_: None


def check_taken(format: str, options: ExportOptions, mark: str = "") -> None:
    """Raise IsoshareError for an option that the format does not take.

    mark: what the caller writes before the name of an option.
    """
    usual, taken = ExportOptions(), {name for row in FORMATS.values() for name in row.takes}
    for name in sorted(taken.difference(FORMATS[format].takes)):
        if getattr(options, name) != getattr(usual, name):
            able = " and ".join(one for one, row in FORMATS.items() if name in row.takes)
            said = name.replace("_", "-") if mark else name
            raise IsoshareError(f"{mark}{said} is for {able}, not for {format}: leave it out")


def write_json(source: ExportSource, path: Path, _: ExportOptions) -> str:
    """Write the plan file."""
    source.plan.save(path)
    return f"wrote the plan of {source.words} to {path}"


def write_safetensors(source: ExportSource, path: Path, _: ExportOptions) -> str:
    """Copy the weights file, or write the network as one."""
    from isoshare.space.exports.checks import check_numbers, refuse_broken
    from isoshare.space.weights.saving import save_weights, without_numbers

    if source.network is not None:
        check_numbers(source.network)
        save_weights(source.network, path, source.plan)
        return f"wrote weights and plan to {path}"
    assert source.weights is not None, "needs weights"
    source.plan  # noqa: B018  a file without a plan is refused here
    refuse_broken(without_numbers(source.weights))
    if not (path.exists() and path.samefile(source.weights)):
        with atomic_write(path) as half:
            shutil.copyfile(source.weights, half)
    return f"wrote weights and plan to {path}"


def write_onnx(source: ExportSource, path: Path, options: ExportOptions) -> str:
    """Export a trained network."""
    from isoshare.space.exports.onnx_file import save_onnx

    shape, known = _image(source.plan, options.image), image_shape(source.plan)
    other = (
        f"; it was trained on images of {'x'.join(map(str, known))}: try how well it does on these"
        if known and known != shape
        else ""
    )
    network = source.trained(options.backbone)
    difference = save_onnx(network, path, source.plan, shape, options.bake)
    return (
        f"wrote {path}, {path.stat().st_size:,} bytes: images (batch, "
        f"{', '.join(map(str, shape))}), {_scaling(source.plan)} → logits; in onnxruntime "
        f"they differ from torch by at most {difference:.1e}{other}"
    )


def write_onnx_int8(source: ExportSource, path: Path, options: ExportOptions) -> str:
    """The network of a file of weights in 8 bits, fitted to images it was trained on."""
    from isoshare.space.exports.onnx_int8 import export_onnx_int8

    network, batches, tune = _to_quantise(source, options)
    done = export_onnx_int8(network, path, source.plan, batches, tune)
    sides = ", ".join(map(str, batches[0].shape[1:]))
    return (
        f"wrote {path}, {path.stat().st_size:,} bytes: images (batch, {sides}), "
        f"{_scaling(source.plan)} → logits, in 8 bits; {_kept(done)}"
    )


def write_tflite(source: ExportSource, path: Path, options: ExportOptions) -> str:
    """The same for LiteRT and TFLite Micro."""
    from isoshare.space.exports.tflite.export import export_tflite

    network, batches, tune = _to_quantise(source, options)
    done = export_tflite(network, path, source.plan, batches, tune, fast=options.fast)
    channels, *sides = batches[0].shape[1:]
    sides = [1, *sides] if len(sides) == 1 else sides
    return (
        f"wrote {path}, {path.stat().st_size:,} bytes: images (1, "
        f"{', '.join(map(str, (*sides, channels)))}), {_scaling(source.plan)} → logits, both int8 "
        f"by scale and zero point in the file; {_kept(done)}"
    )


def _to_quantise(
    source: ExportSource, options: ExportOptions
) -> tuple[nn.Module, list[Tensor], Tune | None]:
    """The trained network, images it was trained on, and how it is fine-tuned on them."""
    batches, tune = source.calibration(options.dataset), source.tune(options)
    return source.trained(options.backbone), batches, tune


def _kept(done: Exported) -> str:
    """How many images keep their class."""
    before = ""
    if done.is_tuned:
        before = f" ({done.untuned:.1%} before the fine-tuning)"
    elif done.untuned is not None:
        before = "; fine-tuning brought it no nearer to float32, so it is left out"
    return (
        f"of the {done.images} images that it was fitted to, {done.agreement:.1%} get the class "
        f"that they get in float32{before}"
    )


def write_optuna(source: ExportSource, path: Path, _: ExportOptions) -> str:
    """Write all trials of a study. Raises IsoshareError for a file or a chosen trial."""
    from isoshare.search.results import optuna_file

    if source.results is None or source.choice != Selection():
        raise IsoshareError(
            "format optuna holds a whole study: name one, and leave out what chooses a plan"
        )
    return f"wrote {optuna_file.write_optuna(source.results, path)} to {path}"


def _check_onnx(source: ExportSource, options: ExportOptions) -> None:
    from isoshare.space.exports.onnx_file import check_packages

    check_packages()
    _image(source.plan, options.image)


def _check_onnx_int8(source: ExportSource, options: ExportOptions) -> None:
    from isoshare.space.exports.onnx_file import check_packages

    check_packages()
    _check_images(source, options)


def _check_tflite(source: ExportSource, options: ExportOptions) -> None:
    from isoshare.space.exports.tflite.export import check_package

    check_package()
    _check_images(source, options)


def _check_images(source: ExportSource, options: ExportOptions) -> None:
    """Raise IsoshareError where there are no images to fit 8 bits to."""
    if source.weights is not None:
        source.calibration(options.dataset)


def _image(plan: PlanFile, given: str | tuple[int, ...] | None) -> tuple[int, ...]:
    """Channels, height and width of an input image: as given, or as the plan's data had it."""
    if isinstance(given, tuple):
        return given
    if given is not None:
        sides = given.split("x")
        if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
            raise IsoshareError(
                f"--image is channels, height and width, like 3x32x32, got {given!r}"
            )
        return tuple(int(side) for side in sides)
    if known := image_shape(plan):
        return known
    raise IsoshareError(
        "the plan does not say how large its images are: add --image, like --image 3x32x32"
    )


def _scaling(plan: PlanFile) -> str:
    """How bytes become what the network takes."""
    found = plan.provenance.get("input")
    if not isinstance(found, dict) or "mean" not in found:
        return "normalised as in training"
    mean, deviation = (
        " ".join(f"{value:.6g}" for value in found[key]) for key in ("mean", "deviation")
    )
    return f"bytes less {mean}, divided by {deviation}"


FORMATS: dict[str, FormatRow] = {
    "json": FormatRow(write_json, "the plan"),
    "safetensors": FormatRow(write_safetensors, "trained weights with the plan", True),
    "onnx": FormatRow(
        write_onnx, "the trained network as a graph", True, ("bake", "image"), _check_onnx
    ),
    "onnx-int8": FormatRow(
        write_onnx_int8,
        "the same in 8 bits, shared kernels once",
        True,
        ("dataset", "int8_epochs"),
        _check_onnx_int8,
    ),
    "tflite": FormatRow(
        write_tflite,
        "the same for LiteRT and TFLite Micro",
        True,
        ("dataset", "fast", "int8_epochs"),
        _check_tflite,
    ),
    "optuna": FormatRow(write_optuna, "all trials for optuna-dashboard"),
}
"""Name to what is written and how."""
