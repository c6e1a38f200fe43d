"""Write what a study found, or a trained file, in the format that is asked for.

FORMATS, one row each, is read without torch. One more format is a function of an ``ExportSource``,
a path and ``ExportOptions`` that returns a sentence for the user, and one row here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isoshare.search.results.choose import Selection, chosen, image_shape, plan_file
from isoshare.space.errors import IsoshareError
from isoshare.space.files import atomic_write
from isoshare.space.plan import PlanFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from isoshare.search.results.study_results import Results
    from isoshare.storage.records import TrialRecord

WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class ExportOptions:
    """bake: sites as ordinary convolutions. image: "CxHxW" of an input, or its shape, if no file
    says it. backbone: one of the user's own that is trusted. dataset: whose images 8 bits are
    fitted to, if no file says it.
    """

    bake: bool = False
    image: str | tuple[int, ...] | None = None
    backbone: str | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class ExportSource:
    """What is exported: a study with the choice of a trial, or a file of trained weights.

    network: one that was trained by the plan of the trial, in place of a file; batches: inputs as
    it takes them, float32 (batch, channels, height, width), which 8 bits are fitted to.
    """

    results: Results | None = None
    choice: Selection = field(default_factory=Selection)
    weights: Path | None = None
    network: nn.Module | None = None
    batches: Sequence[Tensor] = ()

    @cached_property
    def trial(self) -> TrialRecord:
        """The chosen trial of a study. Raises IsoshareError."""
        assert self.results is not None, "a file has no trials"
        return chosen(self.results, self.choice)

    @cached_property
    def plan(self) -> PlanFile:
        """The plan of the trial, or in the file. Raises IsoshareError."""
        if self.results is not None:
            return plan_file(self.results.study, self.trial)
        from isoshare.space.weights.saving import read_plan

        assert self.weights is not None, "either a study or a file"
        return read_plan(self.weights)

    def trained(self, backbone: str | None) -> nn.Module:
        """The trained network, in evaluation mode. Raises IsoshareError."""
        if self.network is not None:
            return self.network.eval()
        from isoshare.space.weights.saving import load_network

        assert self.weights is not None, "needs weights"
        return load_network(self.weights, backbone)

    def calibration(self, dataset: str | None) -> Sequence[Tensor]:
        """What 8 bits are fitted to. Raises IsoshareError."""
        if self.network is not None:
            return self.batches
        from isoshare.search.workflows.calibration import calibration_batches

        return calibration_batches(self.plan, dataset)

    @property
    def words(self) -> str:
        """``trial 5``, or the name of the file."""
        return f"trial {self.trial.number}" if self.results else str(self.weights)


Writer = Callable[[ExportSource, Path, ExportOptions], str]


@dataclass(frozen=True)
class FormatRow:
    """One row of FORMATS.

    summary: what the file holds. needs_weights: whether a study's plan has to be trained first.
    check: raises IsoshareError where the format cannot be written, before anything is trained.
    """

    write: Writer
    summary: str
    needs_weights: bool = False
    check: Callable[[ExportSource, ExportOptions], object] = lambda *_: None


def source_of(target: str, choice: Selection, results: Callable[[], Results]) -> ExportSource:
    """The source a user names: a weights file if there is one, otherwise a study."""
    if not (target.endswith(WEIGHTS) or Path(target).is_file()):
        return ExportSource(results=results(), choice=choice)
    if choice != Selection():
        raise IsoshareError(
            f"{target} holds one network, so there is nothing to choose: leave out --best, "
            "--trial, --max-parameters and --min-accuracy, or name a study"
        )
    return ExportSource(weights=Path(target))


def write_json(source: ExportSource, path: Path, _: ExportOptions) -> str:
    """Write the plan file."""
    source.plan.save(path)
    return f"wrote the plan of {source.words} to {path}"


def write_safetensors(source: ExportSource, path: Path, _: ExportOptions) -> str:
    """Copy the weights file, or write the network as one."""
    if source.network is not None:
        from isoshare.space.weights.saving import save_weights

        save_weights(source.network, path, source.plan)
        return f"wrote weights and plan to {path}"
    assert source.weights is not None, "needs weights"
    source.plan  # noqa: B018  a file without a plan is refused here
    if not (path.exists() and path.samefile(source.weights)):
        with atomic_write(path) as half:
            shutil.copyfile(source.weights, half)
    return f"wrote weights and plan to {path}"


def write_onnx(source: ExportSource, path: Path, options: ExportOptions) -> str:
    """Export a trained network."""
    from isoshare.space.exports.onnx_file import save_onnx

    shape = _image(source.plan, options.image)
    network = source.trained(options.backbone)
    difference = save_onnx(network, path, source.plan, shape, options.bake)
    return (
        f"wrote {path}, {path.stat().st_size:,} bytes: images (batch, "
        f"{', '.join(map(str, shape))}), {_scaling(source.plan)} → logits; in onnxruntime "
        f"they differ from torch by at most {difference:.1e}"
    )


def write_onnx_int8(source: ExportSource, path: Path, options: ExportOptions) -> str:
    """A trained network in 8 bits, fitted to images it was trained on."""
    from isoshare.space.exports.onnx_int8 import export_onnx_int8

    network, batches = source.trained(options.backbone), source.calibration(options.dataset)
    done = export_onnx_int8(network, path, source.plan, batches)
    sides = ", ".join(map(str, batches[0].shape[1:]))
    return (
        f"wrote {path}, {path.stat().st_size:,} bytes: images (batch, {sides}), "
        f"{_scaling(source.plan)} → logits, in 8 bits; of the {done.images} images that it was "
        f"fitted to, {done.agreement:.1%} get the class that they get in float32"
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
    "onnx": FormatRow(write_onnx, "the trained network as a graph", True, _check_onnx),
    "onnx-int8": FormatRow(
        write_onnx_int8, "the same in 8 bits, shared kernels once", True, _check_onnx_int8
    ),
    "optuna": FormatRow(write_optuna, "all trials for optuna-dashboard"),
}
"""Name to what is written and how."""
