"""Train the network of a chosen plan fully, and write it to a file: what a search ends in.

All training images are used, those for validation included; the test images once, at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.data.splits import Part
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.training.batches import Batches, device, use_threads
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.scoring import accuracy_and_loss
from isoshare.evaluators.training.trainer import Report, finish
from isoshare.evaluators.training.vmap_ensemble import outputs_of, worth_stacking
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.checks import check_distilled
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.options.full_training import DISTILLATION, EPOCHS, OF_THE_SEARCH, WEIGHTS
from isoshare.search.workflows.exporting.calibration import input_of
from isoshare.search.workflows.preparation.evaluator import load_data, training_settings
from isoshare.search.workflows.preparation.network import check_output, fitting_arguments
from isoshare.search.workflows.preparation.weights import given_weights, whose_weights
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import build_backbone, check_named
from isoshare.space.errors import IsoshareError, PlanError, in_one_line
from isoshare.space.files import check_writable
from isoshare.space.passes.sample_pass import own_sample
from isoshare.space.plan import PlanFile
from isoshare.space.weights.saving import save_weights

__all__ = ["FullTraining", "UnwrittenError", "prepare_training", "run_training"]

Init = Literal["fresh", "inherit"]


class UnwrittenError(IsoshareError):
    """A network that is trained and cannot be written where it should be; says where it is kept."""


@dataclass(frozen=True)
class FullTraining:
    """A checked training: nothing has been trained or written yet."""

    plan: PlanFile
    config: SearchConfig
    evaluator: TrainingEvaluator
    output: Path
    warnings: tuple[str, ...]

    @property
    def checkpoint(self) -> Path:
        """Where an interrupted training continues from, named by all that decides the result."""
        evaluator = self.evaluator
        name = evaluator.file_name(self.plan.plan, [self.config.seed], evaluator.training_settings)
        return Path(f"{self.output}.{name}")


def prepare_training(
    plan: Path | PlanFile,
    output: Path,
    init: Init,
    options: Mapping[str, Any],
    share_from: float | None = None,
) -> FullTraining:
    """Check a request completely before training. Raises IsoshareError.

    share_from: the fraction of the epochs for which the network is trained unshared before.
    options: those of a search that decide how a network is trained; what is not given is as in the
    search that found the plan, but for the number of epochs.
    """
    file = plan if isinstance(plan, PlanFile) else PlanFile.load(plan)
    if file.backbone is None:
        name = "the plan" if isinstance(plan, PlanFile) else plan
        raise PlanError(
            f"{name} names no backbone, so there is nothing to train: add "
            '"backbone": {"name": ..., "arguments": {...}}'
        )
    check_writable(output)
    where = "its study" if plan is file else str(plan)
    check_named(file.backbone.name, options.get("backbone"), where)
    check_distilled(options)
    backbone = {"backbone": file.backbone.name, "backbone_arg": file.backbone.arguments}
    config = make_config({**_known(file), **options, **backbone})
    dataset = load_data(config.data)
    config = config.model_copy(update={"backbone_arg": fitting_arguments(config.space, dataset)})
    warnings = (*dataset.warnings, *whose_weights(config.space, config.evaluation, [()]))
    evaluator = _evaluator(config, init, _whole(dataset), share_from)
    unshared = build_backbone(config.backbone, config.backbone_arg)
    sample = own_sample(config.backbone, dataset.image_shape)
    network = apply_plan(unshared, file.plan, weights="fresh", sample=sample)
    check_output(network, dataset, config.backbone)
    arguments = {"name": config.backbone, "arguments": config.backbone_arg}
    document = file.model_dump(by_alias=True, exclude_none=True)
    file = PlanFile.model_validate({**document, "backbone": arguments})
    return FullTraining(file, config, evaluator, output, warnings)


def run_training(training: FullTraining, report: Report) -> dict[str, Any]:
    """Train, test and write. Returns what was made; raises EvaluationError, or UnwrittenError.

    report: hears of each epoch, with ``init="inherit"`` also of those of the unshared network.
    """
    config, evaluator, plan = training.config, training.evaluator, training.plan.plan
    if isinstance(evaluator, InheritingEvaluator):
        evaluator.prepare(report)
    network = evaluator.network(plan, config.seed)
    if worth_stacking(network, evaluator.train_batches.images, config.batch_size):
        use_threads(1)  # so small that threads would wait for each other
    under_way = evaluator.training([network], [config.seed])
    forward = finish(under_way, report, training.checkpoint)
    test = evaluator.held_out["test"]
    tested = accuracy_and_loss(forward, test)
    measured = {
        "objective": "accuracy",
        "value": tested["accuracy"],
        "split": "test",
        "fidelity": {"epochs": config.epochs, "images": "all"},
        "seed": config.seed,
    }
    document = training.plan.model_dump(by_alias=True, exclude_none=True)
    document["measured"] = [*document["measured"], measured]
    document["provenance"]["input"] = input_of(evaluator.train_batches, config)
    _write(network.cpu(), training, PlanFile.model_validate(document))
    return {
        "weights": str(training.output),
        "parameters": count_parameters(network),
        "bytes": training.output.stat().st_size,
        "epochs": config.epochs,
        **{f"test_{name}": value for name, value in tested.items()},
        **_unshared(evaluator, test),
    }


def _unshared(evaluator: TrainingEvaluator, test: Batches) -> dict[str, Any]:
    """What the network gives that was inherited from, on the same images."""
    if not isinstance(evaluator, InheritingEvaluator):
        return {}
    network = evaluator.unshared().to(device())
    found = accuracy_and_loss(lambda images: outputs_of(network(images[0]))[0][None], test)
    return {"unshared": {f"test_{name}": value for name, value in found.items()}}


def _write(network: nn.Module, training: FullTraining, file: PlanFile) -> None:
    """Write weights and plan; the checkpoint is not needed any more. Raises UnwrittenError."""
    try:
        save_weights(network, training.output, file)
    except Exception as error:  # whatever it is, a whole training hangs on it
        reason = getattr(error, "strerror", None) or in_one_line(error)
        raise UnwrittenError(
            f"cannot write {training.output}: {reason}; {_kept(network, training, file)}"
        ) from error
    Checkpoint(training.checkpoint).remove()


def _kept(network: nn.Module, training: FullTraining, file: PlanFile) -> str:
    """Keep a trained network somewhere else than it should be; says where that is."""
    state = Checkpoint(training.checkpoint).load()
    if state is not None and state["epoch"] == training.evaluator.settings.epochs:
        return (
            f"the training is kept in {training.checkpoint}, and the same command writes its "
            "weights without training again"
        )
    elsewhere = Path(tempfile.mkdtemp(prefix="isoshare-")) / training.output.name
    try:
        save_weights(network, elsewhere, file)
    except Exception as error:
        return f"nor can they be kept in {elsewhere.parent}: {error}"
    return f"the trained weights are in {elsewhere}"


def _evaluator(
    config: SearchConfig, init: Init, dataset: Dataset, share_from: float | None
) -> TrainingEvaluator:
    settings = training_settings(config.training)
    given = {name: getattr(config, name) for name in (*WEIGHTS, *DISTILLATION)}
    asked = (config.backbone, config.backbone_arg, dataset)
    if share_from is not None:
        before = _unshared_epochs(config, share_from)
        settings = replace(settings, epochs=config.epochs - before)
        return InheritingEvaluator(*asked, settings, pretrain_epochs=before, **given)
    if init == "inherit" or given_weights(config.evaluation):
        return InheritingEvaluator(*asked, settings, **given)
    if config.distill:
        raise IsoshareError(
            "--distill learns from the trained unshared network: give its weights with --weights "
            "FILE, or have it trained first with --init inherit or --share-from X"
        )
    return TrainingEvaluator(*asked, settings)


def _unshared_epochs(config: SearchConfig, share_from: float) -> int:
    """How many of the epochs come before sharing."""
    if given_weights(config.evaluation):
        raise IsoshareError(
            "--share-from trains the unshared network, weights give a trained one: leave one out"
        )
    epochs = round(share_from * config.epochs)
    if not 0 < epochs < config.epochs:
        found = f"{share_from:g} of {config.epochs} are {epochs}"
        raise IsoshareError(f"--share-from must leave epochs before and after it: {found}")
    return epochs


def _known(file: PlanFile) -> dict[str, Any]:
    """The options of the search that found the plan; training is longer here."""
    known = file.provenance.get("config")
    found = known if isinstance(known, dict) else {}
    kept = {key: found[key] for key in OF_THE_SEARCH if found.get(key) is not None}
    return {"epochs": EPOCHS, **kept}


def _whole(dataset: Dataset) -> Dataset:
    """The data set with its validation images added to the training images."""
    parts = (dataset.train, dataset.validation)
    train = Part(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
    return replace(dataset, train=train, fingerprint=f"{dataset.fingerprint}, all")
