"""The data of a search, what measures plans on them, and what is recorded with each result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.evaluator import Evaluator
from isoshare.evaluators.probes import PROBES, Probed
from isoshare.evaluators.training.conditions import device_conditions
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.vmap_ensemble import why_one_by_one, worth_stacking
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import SearchConfig
from isoshare.search.drivers.versions import versions
from isoshare.search.options.data import DataConfig
from isoshare.search.options.evaluation import EvaluationConfig
from isoshare.search.options.space import SpaceConfig
from isoshare.search.options.training import TrainingConfig
from isoshare.space.backbones import build_backbone


def load_data(options: DataConfig) -> Dataset:
    """The data set that is asked for. Raises DatasetError."""
    return load_dataset(options.dataset, options.validation, options.data_options)


def training_settings(options: TrainingConfig) -> TrainingSettings:
    """How a network is trained."""
    names = (field.name for field in fields(TrainingSettings))
    return TrainingSettings(**{name: getattr(options, name) for name in names})


def evaluator_of(  # noqa: PLR0913  four kinds of options, and what is kept
    space: SpaceConfig,
    training: TrainingConfig,
    evaluation: EvaluationConfig,
    dataset: Dataset,
    checkpoints: Path | None = None,
    *,
    keeps_ends: bool = False,
) -> Evaluator:
    """What measures the plans of a search, without probes. Raises IsoshareError.

    keeps_ends: what is trained stays in ``checkpoints`` (search/workflows/ends.py).
    """
    return EVALUATORS[evaluation.evaluator].make(
        space.backbone,
        space.backbone_arg,
        dataset,
        training_settings(training),
        checkpoints=checkpoints,
        keeps_ends=keeps_ends,
        **_own_options(evaluation),
    )


def probed(
    evaluator: Evaluator,
    objectives: Sequence[str],
    space: SpaceConfig,
    image_shape: tuple[int, ...],
) -> Evaluator:
    """``evaluator``, with the probes that are among the objectives.

    image_shape: (channels, height, width).
    """
    names = tuple(name for name in objectives if name in PROBES)
    if not names:
        return evaluator
    return Probed(evaluator, names, space.backbone, space.backbone_arg, image_shape)


def one_by_one(config: SearchConfig, evaluator: Evaluator, dataset: Dataset) -> Iterator[str]:
    """The sentence for small networks whose seeds cannot be trained side by side, if it is so."""
    if config.replicates == 1 or not isinstance(evaluator, TrainingEvaluator):
        return
    network = build_backbone(config.backbone, config.backbone_arg)
    if not worth_stacking(network, torch.from_numpy(dataset.train.images), config.batch_size):
        return
    if reason := why_one_by_one(network, torch.rand(2, *dataset.image_shape)):
        evaluator.one_by_one()
        yield (
            f"the {config.replicates} seeds of each plan are trained one after another: "
            f"torch.func.vmap cannot train several of {config.backbone!r} at once ({reason})"
        )


def conditions_of(evaluation: EvaluationConfig, dataset: Dataset) -> dict[str, Any]:
    """What is recorded with each measurement that is taken here and now."""
    return {
        "evaluator": evaluation.evaluator,
        **_own_options(evaluation),
        **device_conditions(),
        "dataset": dataset.fingerprint,
        **versions(),
    }


def _own_options(evaluation: EvaluationConfig) -> dict[str, Any]:
    """The options that only this evaluator has."""
    return {name: getattr(evaluation, name) for name in EVALUATORS[evaluation.evaluator].options}
