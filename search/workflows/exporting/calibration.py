"""Images of the data that a network was trained on, as it takes them: what 8 bits are fitted to.

Its file says which they are: ``input_of`` writes it, ``training_images`` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.training.batches import Batches
from isoshare.search.options.full_training import OF_IMAGES
from isoshare.space.errors import IsoshareError

if TYPE_CHECKING:
    from torch import Tensor

    from isoshare.search.config import SearchConfig
    from isoshare.space.plan import PlanFile

IMAGES = 512
BATCH = 64
VALIDATION = 0.2
"""What a training kept for measuring is left out, by default."""


def input_of(images: Batches, config: SearchConfig) -> dict[str, Any]:
    """What a network takes: the shape of an image, how its bytes are normalised, and which images
    it has learned.
    """
    mean, deviation = (
        torch.as_tensor(value).flatten().tolist() for value in (images.mean, images.deviation)
    )
    data = config.model_dump(include=set(OF_IMAGES), exclude_none=True)
    shape = list(images.images.shape[1:])
    return {"image": shape, "mean": mean, "deviation": deviation, "data": data}


def calibration_batches(plan: PlanFile, dataset: str | None) -> list[Tensor]:
    """Some training images, float32 (batch, channels, height, width), drawn with a fixed seed."""
    data = training_images(plan, dataset)
    chosen = np.random.default_rng(0).permutation(len(data.images))[:IMAGES]
    return list(torch.split(data.normalised(data.images[np.sort(chosen)]), BATCH))


def training_images(plan: PlanFile, dataset: str | None) -> Batches:
    """All training images, to be normalised as the network takes them.

    plan: of a trained file, which says how bytes are normalised, and on what data; files of earlier
    versions do if a search found the plan. dataset: their name otherwise. Raises IsoshareError.
    """
    taken, config = plan.provenance.get("input"), plan.provenance.get("config")
    known: dict[str, Any] = dict(config) if isinstance(config, dict) else {}
    if isinstance(taken, dict) and isinstance(taken.get("data"), dict):
        known |= {key: taken["data"].get(key) for key in OF_IMAGES}
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
    options = ("subset", "resolution", "channels", "data_folder")
    asked = DataOptions(*(known.get(key) for key in options))
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


def _sides(shape: Any) -> str:
    return "x".join(map(str, shape))
