"""Data sets that torchvision downloads and checks: a row of ``SETS`` each."""

from __future__ import annotations

import http.client
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.evaluators.data.pixels import fitted
from isoshare.evaluators.data.splits import DataOptions, DatasetError, Part, Raw, Source

PATIENCE = 30.0
"""Seconds without an answer after which a server counts as unreachable."""


@dataclass(frozen=True)
class TorchvisionSet:
    """kind: torchvision's class. files: what it reads, at ``url``, and below the data folder."""

    kind: str
    url: str
    files: tuple[str, ...]
    folder: str = "."


SETS: dict[str, TorchvisionSet] = {
    "cifar10": TorchvisionSet(
        "CIFAR10", "https://www.cs.toronto.edu/~kriz/", ("cifar-10-python.tar.gz",)
    ),
    "cifar100": TorchvisionSet(
        "CIFAR100", "https://www.cs.toronto.edu/~kriz/", ("cifar-100-python.tar.gz",)
    ),
    "fashion_mnist": TorchvisionSet(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        tuple(
            f"{part}-{kind}-ubyte.gz"
            for part in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ),
        folder="FashionMNIST/raw",
    ),
    "svhn": TorchvisionSet(
        "SVHN",
        "http://ufldl.stanford.edu/housenumbers/",
        ("train_32x32.mat", "test_32x32.mat"),
    ),
}


def torchvision_source(name: str, options: DataOptions) -> Source:
    """A data set of SETS. Its files are known by their checksums, so its name says it all."""
    return Source(name, partial(_read, name, options))


def _read(name: str, options: DataOptions) -> Raw:
    row = SETS[name]
    folder = None
    try:
        folder = Path(options.folder) if options.folder else cache_folder() / "torchvision"
        with _impatient():
            train, test = (_part(row, folder, is_train) for is_train in (True, False))
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise DatasetError(_missing(name, row, folder, error)) from error
    return fitted(train, test, options)


def _part(row: TorchvisionSet, folder: Path, is_train: bool) -> Part:
    """Read one part, downloaded only if it is not there whole."""
    from isoshare.space.backbones.torchvision_operators import declare_missing

    declare_missing()
    from torchvision import datasets

    kind: Any = getattr(datasets, row.kind)
    which: dict[str, Any] = {"train": is_train}
    if row.kind == "SVHN":
        which = {"split": "train" if is_train else "test"}
    found = kind(str(folder), download=True, **which)
    images = np.asarray(found.data)
    if row.kind.startswith("CIFAR"):
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim == 3:
        images = images[:, np.newaxis]
    labels = found.labels if row.kind == "SVHN" else found.targets
    return Part(np.ascontiguousarray(images), np.asarray(labels, np.int64))


@contextmanager
def _impatient() -> Iterator[None]:
    """A server that does not answer counts as none; old pickles are no news to the user."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _missing(name: str, row: TorchvisionSet, folder: Path | None, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "reason", error)).split())
    place = "a folder" if folder is None else str(folder / row.folder)
    return (
        f"data set {name!r} is not there and cannot be downloaded ({reason}): put "
        f"{', '.join(row.files)} from {row.url} into {place}, or name the folder that has "
        "them with --data-folder"
    )
