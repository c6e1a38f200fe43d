"""Images of one part that are in another too: what is measured on them is memory, not skill.

Nearly: the same picture at the final size after another compression, a change of brightness or of
size. Not what has been mirrored, turned or cropped.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoshare.evaluators.data.pixels import shrunk, with_channels
from isoshare.evaluators.data.splits import Images

SIDE = 8
"""Of the small grey pictures that are compared first."""
CORRELATION = 0.98, 0.995
"""From which on small pictures, and then the images themselves, are nearly the same."""
BATCH = 512
Vectors = NDArray[np.float32]


def find_duplicates(known: Images, asked: Images) -> tuple[list[tuple[int, int]], int]:
    """For each image of ``asked`` that is among ``known`` too, both (n, channels, height, width),
    its place and that of the first one like it; and how many of the pairs are exactly equal.
    """
    first: dict[bytes, int] = {}
    for place, image in enumerate(known):
        first.setdefault(_digest(image), place)
    equal = [(place, first.get(_digest(image), -1)) for place, image in enumerate(asked)]
    pairs = [(place, other) for place, other in equal if other >= 0]
    left = np.array([place for place, other in equal if other < 0], np.int64)
    return sorted([*pairs, *_near(known, asked, left)]), len(pairs)


def _near(known: Images, asked: Images, left: NDArray[np.int64]) -> list[tuple[int, int]]:
    small, found = _small(known), []
    for start in range(0, len(left), BATCH):
        places = left[start : start + BATCH]
        alike = _small(asked[places]) @ small.T
        nearest = alike.argmax(1)
        for row in np.flatnonzero(alike.max(1) >= CORRELATION[0]):
            place, other = int(places[row]), int(nearest[row])
            if _correlation(known[other], asked[place]) >= CORRELATION[1]:
                found.append((place, other))
    return found


def _small(images: Images) -> Vectors:
    """(n, pixels): small grey pictures without their mean, of length one; flat ones are zero."""
    grey = with_channels(images, 1)
    side = min(SIDE, *images.shape[2:])
    return _centred(shrunk(grey, side).reshape(len(images), -1).astype(np.float32))


def _centred(rows: Any) -> Vectors:
    rows = rows - rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Vectors = np.where(lengths > 1e-3, rows / np.maximum(lengths, 1e-3), 0)
    return scaled


def _correlation(one: Images, other: Images) -> float:
    ends = _centred(np.stack([one.ravel(), other.ravel()]).astype(np.float32))
    return float(ends[0] @ ends[1])


def _digest(image: Images) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
