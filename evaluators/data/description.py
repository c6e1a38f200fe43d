"""A data set in words: what a search prints before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from isoshare.evaluators.data.augmentation import Augment, Augmentation
from isoshare.evaluators.data.datasets import Dataset
from isoshare.space.errors import listed

NAMES = 8
"""Classes that are named."""


def describe_dataset(dataset: Dataset, augment: Augment) -> tuple[str, ...]:
    """Classes, images of each part, their size, what happens to them in training, and what the
    reader of the data set has noted.
    """
    channels, height, width = dataset.image_shape
    colours = {1: "grey", 3: "in colour"}.get(channels, f"of {channels} channels")
    parts = zip(("train", "validate", "test"), _parts(dataset), strict=True)
    counts = ", ".join(f"{count:,} to {what}" for what, count in parts)
    return (
        f"data {dataset.name}: {dataset.classes:,} classes{_names(dataset.class_names)}; images: "
        f"{counts}; {height}x{width} pixels, {colours}",
        _training(dataset.augmentation_by(augment), dataset.augmentation),
        *dataset.notes,
    )


def _parts(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.validation), len(dataset.test)


def _names(names: Sequence[str]) -> str:
    return f" ({listed(names, NAMES)})" if names else ""


def _training(done: Augmentation, possible: Augmentation) -> str:
    found = [f"shifted by up to {done.crop} pixel{'s' * (done.crop > 1)}"] if done.crop else []
    found += ["mirrored by chance"] if done.flip else []
    what = " and ".join(found) or "left as they are"
    unsafe = possible.flip and not done.flip and bool(found)
    asked = ", not mirrored, which may change what they show (--augment standard does)"
    return f"in training, images are {what}{asked if unsafe else ''}"
