"""What measures the plans of a search, and the conditions that are recorded with each result."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.evaluator import Evaluator
from isoshare.evaluators.training.conditions import device_conditions
from isoshare.evaluators.training.trainer import TrainingSettings
from isoshare.search.config import SearchConfig
from isoshare.search.drivers.versions import versions


def training_settings(config: SearchConfig) -> TrainingSettings:
    """The options that say how a network is trained."""
    names = (field.name for field in fields(TrainingSettings))
    return TrainingSettings(**{name: getattr(config, name) for name in names})


def evaluator_of(
    config: SearchConfig, dataset: Dataset, checkpoints: Path | None = None
) -> Evaluator:
    """What measures the plans of a search, without probes. Raises IsoshareError."""
    return EVALUATORS[config.evaluator].make(
        config.backbone,
        config.backbone_arg,
        dataset,
        training_settings(config),
        checkpoints=checkpoints,
        **_own_options(config),
    )


def conditions_of(config: SearchConfig, dataset: Dataset) -> dict[str, Any]:
    """What is recorded with each measurement that is taken here and now."""
    return {
        "evaluator": config.evaluator,
        **_own_options(config),
        **device_conditions(),
        "dataset": dataset.fingerprint,
        **versions(),
    }


def _own_options(config: SearchConfig) -> dict[str, Any]:
    """The options that only the evaluator of the search has."""
    return {name: getattr(config, name) for name in EVALUATORS[config.evaluator].options}
