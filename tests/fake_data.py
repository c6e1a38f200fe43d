"""Small data sets in the formats of real ones: image folders, and what torchvision reads."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from isoshare.evaluators.data.torchvision_sets import SETS
from isoshare.space.backbones.torchvision_operators import declare_missing

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

TRAIN, TEST, CLASSES = 60, 20, 10


def noise(*shape: int, seed: int = 0) -> Pixels:
    """Bytes that nothing can compress or guess."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_image(path: Path, pixels: Pixels | None = None, mode: str | None = None) -> Path:
    """An image file: grey for two dimensions, colour for three."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(noise(8, 8, 3) if pixels is None else pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def write_classes(
    folder: Path, each: int, classes: str = "ab", side: int = 8, first: int = 0
) -> Path:
    """``each`` colour images in a folder for every letter of ``classes``, all different."""
    for kind, name in enumerate(classes):
        for place in range(each):
            seed = 1000 * kind + first + place
            write_image(folder / name / f"{place:03}.png", noise(side, side, 3, seed=seed))
    return folder


def write_folder(root: Path) -> Path:
    """A folder in two parts."""
    write_classes(root / "train", 12)
    write_classes(root / "test", 4, first=500)
    return root


def labels(count: int) -> list[int]:
    return [place % CLASSES for place in range(count)]


def _cifar(kind: Any, folder: Path, key: str, patch: pytest.MonkeyPatch) -> None:
    place = folder / kind.base_folder
    place.mkdir(parents=True)
    for name, count in (("train", TRAIN), ("test", TEST)):
        batch = {"data": noise(count, 3072, seed=count), key: labels(count)}
        (place / name).write_bytes(pickle.dumps(batch))
        patch.setattr(kind, f"{name}_list", [[name, None]])  # None: no checksum
    (place / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: ["some"]}))
    patch.setattr(kind, "meta", {**kind.meta, "md5": None})


def _svhn(kind: Any, folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name, count in (("train", TRAIN), ("test", TEST)):
        numbers = np.array(labels(count))
        numbers[numbers == 0] = 10  # as they are in the files
        content = {"X": noise(32, 32, 3, count, seed=count), "y": numbers[:, np.newaxis]}
        scipy.io.savemat(folder / f"{name}.mat", content)
    files = {name: ["http://nowhere", f"{name}.mat", None] for name in ("train", "test")}
    patch.setattr(kind, "split_list", files)


def _fashion(folder: Path) -> None:
    place = folder / "FashionMNIST" / "raw"
    place.mkdir(parents=True)
    for name, count in (("train", TRAIN), ("t10k", TEST)):
        shape = np.array([2051, count, 28, 28], ">i4").tobytes()
        pixels = noise(count, 28, 28, seed=count).tobytes()
        (place / f"{name}-images-idx3-ubyte").write_bytes(shape + pixels)
        shape = np.array([2049, count], ">i4").tobytes()
        (place / f"{name}-labels-idx1-ubyte").write_bytes(shape + bytes(labels(count)))


def write_torchvision(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """All data sets of SETS, so small that their checksums have to be taken away."""
    declare_missing()
    from torchvision import datasets

    folder.mkdir()
    _cifar(datasets.CIFAR10, folder, "labels", patch)
    _cifar(datasets.CIFAR100, folder, "fine_labels", patch)
    _svhn(datasets.SVHN, folder, patch)
    _fashion(folder)


def at_hand(name: str, place: Path, patch: pytest.MonkeyPatch) -> tuple[str, str | None]:
    """Make a data set of the table loadable: what to call it, and its data folder."""
    if name == "folder:PATH":
        return f"folder:{write_folder(place / 'images')}", None
    if name in SETS:
        write_torchvision(place / "data", patch)
        return name, str(place / "data")
    return name, None


def forbidden(what: str) -> Callable[..., Any]:
    """A function that must not be called."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"{what} again")

    return fail
