"""Images of the data that a network was trained on, as it takes them: what 8 bits are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.training.batches import Batches
from isoshare.space.errors import IsoshareError

if TYPE_CHECKING:
    from torch import Tensor

    from isoshare.space.plan import PlanFile

IMAGES = 512
BATCH = 64
VALIDATION = 0.2
"""What a training kept for measuring is left out, by default."""


def calibration_batches(plan: PlanFile, dataset: str | None) -> list[Tensor]:
    """Some training images, float32 (batch, channels, height, width), drawn with a fixed seed."""
    data = training_images(plan, dataset)
    chosen = np.random.default_rng(0).permutation(len(data.images))[:IMAGES]
    return list(torch.split(data.normalised(data.images[np.sort(chosen)]), BATCH))


def training_images(plan: PlanFile, dataset: str | None) -> Batches:
    """All training images, to be normalised as the network takes them.

    plan: of a trained file, which says how bytes are normalised and, if a search found it, on what
    data. dataset: their name otherwise. Raises IsoshareError.
    """
    taken, config = plan.provenance.get("input"), plan.provenance.get("config")
    known: dict[str, Any] = config if isinstance(config, dict) else {}
    name = dataset or known.get("dataset")
    if not isinstance(taken, dict) or "mean" not in taken:
        raise IsoshareError(
            "the file does not say how its images are normalised, so 8 bits cannot be fitted to "
            "any: write it with 'isoshare train'"
        )
    if name is None:
        raise IsoshareError(
            "the file does not say what it was trained on: name its images, like --dataset digits"
        )
    asked = DataOptions(*(known.get(key) for key in ("subset", *OF_IMAGES)))
    found = load_dataset(name, known.get("validation", VALIDATION), asked)
    if list(found.image_shape) != list(taken["image"]):
        raise IsoshareError(
            f"images of {name} are {_sides(found.image_shape)}, the network was trained on "
            f"{_sides(taken['image'])}: name the data set it was trained on, with --dataset"
        )
    mean, deviation = (torch.tensor(taken[key]).view(-1, 1, 1) for key in ("mean", "deviation"))
    images, labels = map(torch.from_numpy, (found.train.images, found.train.labels))
    augmentation = found.augmentation_by(known.get("augment") or "auto")
    return Batches(images, labels, mean, deviation, augmentation)


def as_images(batches: Sequence[Tensor]) -> Batches:
    """Inputs as a network takes them, to be trained on without labels."""
    together = torch.cat(list(batches))
    return Batches(together, torch.zeros(len(together), dtype=torch.int64))


OF_IMAGES = ("resolution", "channels", "data_folder")


def _sides(shape: Any) -> str:
    return "x".join(map(str, shape))
