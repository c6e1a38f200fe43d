"""What is exported: a trial of a study, or a file of trained weights. Read without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from isoshare.search.results.choose import Selection, chosen, plan_file
from isoshare.space.errors import IsoshareError
from isoshare.space.files import check_writable
from isoshare.space.plan import PlanFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from isoshare.evaluators.training.trainer import Report
    from isoshare.search.results.study_results import Results
    from isoshare.space.exports.int8 import Tune
    from isoshare.storage.records import TrialRecord

WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class ExportOptions:
    """bake: sites as ordinary convolutions. image: "CxHxW" of an input, or its shape, if no file
    says it. backbone: one of the user's own that is trusted. dataset: whose images 8 bits are
    fitted to, if no file says it. fast: quicker, for more memory. int8_epochs: how long 8 bits are
    fine-tuned.
    """

    bake: bool = False
    image: str | tuple[int, ...] | None = None
    backbone: str | None = None
    dataset: str | None = None
    fast: bool = False
    int8_epochs: int = 0


@dataclass(frozen=True)
class ExportSource:
    """What is exported: a study with the choice of a trial, or a file of trained weights.

    network: one that was trained by the plan of the trial, in place of a file; batches: inputs as
    it takes them, float32 (batch, channels, height, width), which 8 bits are fitted to. report:
    hears of the epochs of their fine-tuning.
    """

    results: Results | None = None
    choice: Selection = field(default_factory=Selection)
    weights: Path | None = None
    network: nn.Module | None = None
    batches: Sequence[Tensor] = ()
    report: Report | None = None

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

    def calibration(self, dataset: str | None) -> list[Tensor]:
        """What 8 bits are fitted to. Raises IsoshareError."""
        if self.network is not None:
            return list(self.batches)
        from isoshare.search.workflows.exporting.calibration import calibration_batches

        return calibration_batches(self.plan, dataset)

    def tune(self, options: ExportOptions) -> Tune | None:
        """How 8 bits are fine-tuned, if they are to be. Raises IsoshareError."""
        if not options.int8_epochs:
            return None
        from isoshare.evaluators.training.quantisation_aware import answer_alike
        from isoshare.search.workflows.exporting.calibration import as_images, training_images

        given = self.network is not None
        data = as_images(self.batches) if given else training_images(self.plan, options.dataset)
        return partial(answer_alike, data=data, epochs=options.int8_epochs, report=self.report)

    @property
    def words(self) -> str:
        """``trial 5``, or the name of the file."""
        return f"trial {self.trial.number}" if self.results else str(self.weights)


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


def check_output(source: ExportSource, output: Path, format: str) -> None:
    """Raise IsoshareError for a place that cannot be written, or that is what is exported."""
    check_writable(output)
    if source.weights is None or format == WEIGHTS[1:] or not output.exists():
        return
    if source.weights.exists() and output.samefile(source.weights):
        raise IsoshareError(
            f"{output} is the file that is exported, and {format} would take its place: give -o "
            "another name"
        )


def weights_beside(output: Path) -> Path:
    """Where the trained weights go that another format is made of: beside it, by the same name.

    Raises IsoshareError if a file is there, which may have taken a training too.
    """
    weights = output.with_suffix(WEIGHTS)
    if weights != output and weights.exists():
        raise IsoshareError(
            f"the training that {output.name} needs would write over {weights}, which is there "
            f"already: export that file itself (isoshare export {weights} -o {output}), or give "
            "-o another name"
        )
    return weights
