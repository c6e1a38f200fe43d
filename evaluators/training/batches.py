"""Images on the device as bytes, and the float batches that networks are given.

A data set is not copied: on a CPU the bytes stay where they are, mapped from the cache or shared
among workers. A batch is augmented as bytes and becomes floats only when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.data.splits import Images, Part

NO_AUGMENTATION = Augmentation()
COUNTED_AT_ONCE = 2**20
"""Pixels: counting takes eight bytes for each."""


@dataclass(frozen=True)
class Batches:
    """A part of a data set on the device: images (n, channels, height, width) and labels (n,).

    mean, deviation: of the training images, by channel; what ``normalised`` subtracts and divides
    by. augmentation: what happens to the images in training, and only there.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor | float = 0.0
    deviation: Tensor | float = 1.0
    augmentation: Augmentation = NO_AUGMENTATION

    def normalised(self, images: Tensor) -> Tensor:
        """Images of this part (..., channels, height, width) as floats of the usual size."""
        return images.to(torch.float32, copy=True).sub_(self.mean).div_(self.deviation)

    def first(self, count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """So many normalised images, or all, with their labels, ``size`` at once."""
        for start in range(0, min(count, len(self.labels)), size):
            some = slice(start, min(start + size, count))
            yield self.normalised(self.images[some]), self.labels[some]

    def augmented(self, index: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Images (seeds, batch, ...) at ``index`` (seeds, batch), changed by chance: a generator
        for each seed. They are not normalised yet."""
        return self.augmentation(self.images[index.to(self.images.device)], generators)


def use_threads(count: int) -> None:
    """How many threads torch may use in this process, so that workers do not fight for cores."""
    torch.set_num_threads(count)


@contextmanager
def threads_for_now(count: int) -> Iterator[None]:
    """The same as long as the context lasts."""
    before = torch.get_num_threads()
    use_threads(count)
    try:
        yield
    finally:
        use_threads(before)


def device() -> torch.device:
    """The accelerator where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normalised(part: Part, reference: Part, augmentation: Augmentation | None = None) -> Batches:
    """``part`` on the device, to be scaled by mean and deviation of ``reference``, by channel.

    reference: the training images, so that nothing is learned from the others.
    """
    mean, deviation = (value.to(device()) for value in _statistics(reference.images))
    images, labels = (torch.from_numpy(array).to(device()) for array in (part.images, part.labels))
    return Batches(images, labels, mean, deviation, augmentation or NO_AUGMENTATION)


def shuffled(
    length: int, batches: int, batch_size: int, orders: Sequence[torch.Generator]
) -> tuple[Tensor, ...]:
    """The indices of an epoch: for each batch (seeds, batch size), each seed in its own order."""
    indices = torch.stack([torch.randperm(length, generator=order) for order in orders])
    return indices[:, : batches * batch_size].tensor_split(batches, dim=1)


def _statistics(images: Images) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (channels, 1, 1). Bytes are counted: exact, no copy."""
    channels = images.shape[1]
    counts = np.zeros((channels, 256))
    step = max(1, COUNTED_AT_ONCE // images[0, 0].size)
    for start in range(0, len(images), step):
        for channel in range(channels):
            some = images[start : start + step, channel].ravel()
            counts[channel] += np.bincount(some, minlength=256)
    values, total = np.arange(256.0), counts.sum(axis=1)
    mean = counts @ values / total
    square = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / np.maximum(total - 1, 1)
    deviation = np.maximum(np.sqrt(square), 1e-6)
    shape = (channels, 1, 1)
    return (
        torch.tensor(mean, dtype=torch.float32).reshape(shape),
        torch.tensor(deviation, dtype=torch.float32).reshape(shape),
    )
