"""torchvision's data sets: arrays as they are stored, a sentence where they cannot be had."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from isoshare.evaluators.data import torchvision_sets
from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions, DatasetError
from isoshare.evaluators.data.torchvision_sets import SETS, torchvision_source
from isoshare.space.backbones.torchvision_operators import declare_missing
from tests.fake_data import TEST, TRAIN, labels, noise, write_torchvision


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Every request fails, with the timeout that was set at that moment."""
    timeouts: list[float | None] = []

    def fail(*_: object, **__: object) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    return timeouts


def stored(name: str, count: int) -> np.ndarray:
    """The images of the fake files, as (n, channels, height, width)."""
    if name == "svhn":
        return noise(32, 32, 3, count, seed=count).transpose(3, 2, 0, 1)
    if name == "fashion_mnist":
        return noise(count, 1, 28, 28, seed=count)
    return noise(count, 3072, seed=count).reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("name", SETS)
def test_images_and_labels_are_those_of_the_files_and_need_no_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[float | None]
) -> None:
    write_torchvision(tmp_path / "data", monkeypatch)
    raw = torchvision_source(name, DataOptions(folder=str(tmp_path / "data"))).read()
    for part, count in ((raw.train, TRAIN), (raw.test, TEST)):
        assert np.array_equal(part.images, stored(name, count))
        assert part.labels.tolist() == labels(count)
    assert no_network == []


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("given", [True, False])
def test_without_a_network_a_sentence_says_which_file_goes_where(
    name: str, given: bool, tmp_path: Path, no_network: list[float | None]
) -> None:
    folder = str(tmp_path / "data") if given else None
    with pytest.raises(DatasetError) as refused:
        load_dataset(name, 0.2, DataOptions(folder=folder))
    sentence = str(refused.value)
    assert sentence.startswith(f"data set '{name}' is not there and cannot be downloaded (")
    assert "Temporary failure in name resolution" in sentence
    assert "\n" not in sentence
    row, place = SETS[name], Path(folder or cache_folder() / "torchvision")
    for part in (*row.files, row.url, f"into {place / row.folder}", "--data-folder"):
        assert part in sentence
    assert set(no_network) == {torchvision_sets.PATIENCE}
    assert socket.getdefaulttimeout() is None


def test_the_files_named_are_those_that_torchvision_reads() -> None:
    declare_missing()
    from torchvision import datasets

    for name in ("cifar10", "cifar100"):
        kind = getattr(datasets, SETS[name].kind)
        assert kind.url == SETS[name].url + SETS[name].files[0]
    split = datasets.SVHN.split_list
    assert [split[part][0] for part in ("train", "test")] == [
        SETS["svhn"].url + file for file in SETS["svhn"].files
    ]
    fashion = SETS["fashion_mnist"]
    assert datasets.FashionMNIST.mirrors == [fashion.url]
    assert tuple(file for file, _ in datasets.FashionMNIST.resources) == fashion.files


def test_a_damaged_download_or_a_folder_that_is_a_file_is_a_sentence(
    tmp_path: Path, no_network: list[float | None]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot be downloaded .*file"):
        load_dataset("svhn", 0.2, DataOptions(folder=str(tmp_path / "file")))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_text("an error page")
    with pytest.raises(DatasetError, match=r"put cifar-10-python\.tar\.gz from"):
        load_dataset("cifar10", 0.2, DataOptions(folder=str(tmp_path / "data")))
