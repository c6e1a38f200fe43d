"""Images of the data that a network was trained on, as it takes them: what 8 bits are fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.space.errors import IsoshareError

if TYPE_CHECKING:
    from torch import Tensor

    from isoshare.space.plan import PlanFile

IMAGES = 512
BATCH = 64
VALIDATION = 0.2
"""What a training kept for measuring is left out, by default."""


def calibration_batches(plan: PlanFile, dataset: str | None) -> list[Tensor]:
    """Training images, float32 (batch, channels, height, width), drawn with a fixed seed.

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
    images = load_dataset(name, known.get("validation", VALIDATION), asked).train.images
    if list(images.shape[1:]) != list(taken["image"]):
        raise IsoshareError(
            f"images of {name} are {_sides(images.shape[1:])}, the network was trained on "
            f"{_sides(taken['image'])}: name the data set it was trained on, with --dataset"
        )
    chosen = np.random.default_rng(0).permutation(len(images))[:IMAGES]
    mean, deviation = (torch.tensor(taken[key]).view(-1, 1, 1) for key in ("mean", "deviation"))
    scaled = (torch.from_numpy(images[np.sort(chosen)]).float() - mean) / deviation
    return list(torch.split(scaled, BATCH))


OF_IMAGES = ("resolution", "channels", "data_folder")


def _sides(shape: Any) -> str:
    return "x".join(map(str, shape))
