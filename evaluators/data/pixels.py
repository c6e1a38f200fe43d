"""Bring whole arrays of images to the size and the channels that were asked for."""

from __future__ import annotations

import numpy as np
from PIL import Image

from isoshare.evaluators.data.splits import (
    DataOptions,
    DatasetError,
    Images,
    Part,
    Raw,
    stratified_subset,
    take,
)

LUMINANCE = np.array([19595, 38470, 7471], dtype=np.uint32)
"""Red, green and blue in 65,536ths of grey (ITU-R BT.601), rounded as Pillow does."""


def fitted(train: Part, test: Part, options: DataOptions) -> Raw:
    """Whole parts with the options applied. Raises DatasetError."""
    if options.subset is not None:
        train = take(train, stratified_subset(train.labels, options.subset))
    return Raw(_fitted(train, options), _fitted(test, options))


def _fitted(part: Part, options: DataOptions) -> Part:
    images = part.images
    if options.resolution is not None:
        check_shrinks(options.resolution, *images.shape[2:])
        images = shrunk(images, options.resolution)
    if options.channels is not None:
        images = with_channels(images, options.channels)
    return Part(images, part.labels)


def check_shrinks(resolution: int, height: int, width: int) -> None:
    """Enlarged images would cost more and show nothing more. Raises DatasetError."""
    if resolution > min(height, width):
        raise DatasetError(
            f"--resolution shrinks and never enlarges: the images have {height}x{width} pixels, "
            f"got {resolution}; ask for at most {min(height, width)} or leave it out"
        )


def shrunk(images: Images, side: int) -> Images:
    """Images (n, channels, side, side): each pixel is the mean of the area that it covers."""
    count, channels, *shape = images.shape
    if shape == [side, side]:
        return images
    result = np.empty((count, channels, side, side), np.uint8)
    for place in np.ndindex(count, channels):
        plane = Image.fromarray(images[place])
        result[place] = np.asarray(plane.resize((side, side), Image.Resampling.BOX))
    return result


def with_channels(images: Images, channels: int) -> Images:
    """Images (n, channels, height, width): grey is luminance, colour from grey repeats it."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    grey = np.empty((len(images), 1, *images.shape[2:]), np.uint8)
    for place, image in enumerate(images):  # one at a time: sums need four bytes a pixel
        grey[place, 0] = (np.tensordot(LUMINANCE, image, axes=1) + 32768) >> 16
    return grey
