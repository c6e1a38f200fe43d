"""Data sets: honest splits, options that mean the same for every source, a cache that is used."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from isoshare.evaluators.data import torchvision_sets
from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.data.datasets import DATASETS, Dataset, full_name, load_dataset
from isoshare.evaluators.data.folders import image_folder
from isoshare.evaluators.data.pixels import shrunk, with_channels
from isoshare.evaluators.data.splits import (
    DataOptions,
    DatasetError,
    Part,
    Raw,
    Source,
    stratified_subset,
)
from isoshare.evaluators.data.torchvision_sets import SETS
from tests.fake_data import at_hand, forbidden, noise, write_folder

PARTS = ("train", "validation", "test")


def parts(dataset: Dataset) -> list[Part]:
    return [getattr(dataset, name) for name in PARTS]


@pytest.mark.parametrize("name", DATASETS)
def test_the_three_parts_have_no_image_in_common_and_all_classes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, folder = at_hand(name, tmp_path, monkeypatch)
    dataset = load_dataset(called, 0.25, DataOptions(folder=folder))
    seen: set[bytes] = set()
    for part in parts(dataset):
        assert set(part.labels.tolist()) == set(range(dataset.classes))
        assert part.images.dtype == np.uint8
        assert part.images.ndim == 4
        pictures = {image.tobytes() for image in part.images}
        assert not seen & pictures
        seen |= pictures
    whole = len(dataset.train) + len(dataset.validation)
    assert len(dataset.validation) == pytest.approx(0.25 * whole, abs=1)
    assert dataset.in_channels == dataset.train.images.shape[1]
    assert dataset.name == called
    assert dataset.warnings == ()


@pytest.mark.parametrize("name", DATASETS)
def test_options_mean_the_same_for_every_data_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, folder = at_hand(name, tmp_path, monkeypatch)
    whole = load_dataset(called, 0.5, DataOptions(folder=folder))
    count = len(whole.train) + len(whole.validation) - 3
    for channels in (1, 3):
        options = DataOptions(subset=count, resolution=5, channels=channels, folder=folder)
        fitted = load_dataset(called, 0.5, options)
        assert len(fitted.train) + len(fitted.validation) == count
        assert len(fitted.test) == len(whole.test)
        assert {part.images.shape[1:] for part in parts(fitted)} == {(channels, 5, 5)}
        assert np.array_equal(
            fitted.test.images, with_channels(shrunk(whole.test.images, 5), channels)
        )
        assert fitted.fingerprint != whole.fingerprint


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_images_are_decoded_once_and_then_mapped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, folder = at_hand(name, tmp_path, monkeypatch)
    options = DataOptions(folder=folder)
    first = load_dataset(called, 0.25, options)
    monkeypatch.setattr(image_folder, "decode", forbidden("decoded"))
    monkeypatch.setattr(image_folder, "read_header", forbidden("opened"))
    monkeypatch.setattr(torchvision_sets, "_part", forbidden("read"))
    again = load_dataset(called, 0.25, options)
    assert again.fingerprint == first.fingerprint
    for part, other in zip(parts(first), parts(again), strict=True):
        assert np.array_equal(part.images, other.images)
        assert np.array_equal(part.labels, other.labels)
        assert all(is_mapped(one.images) for one in (part, other))
    if name in SETS:  # a torchvision set in the cache needs its files no more
        assert load_dataset(called, 0.25, DataOptions(folder="/no/where")).warnings == ()


def is_mapped(array: np.ndarray) -> bool:
    """Whether the array lies in a file."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def test_a_data_set_is_sent_to_workers_without_copying_it_into_the_message(tmp_path: Path) -> None:
    """Ray keeps what pickle hands over as buffers once for all workers of a machine."""
    dataset = load_dataset(f"folder:{write_folder(tmp_path)}", 0.5)
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    assert len(message) < 2000 < sum(buffer.raw().nbytes for buffer in buffers)


def test_another_fraction_is_another_entry(tmp_path: Path) -> None:
    name = f"folder:{write_folder(tmp_path)}"
    assert [len(load_dataset(name, fraction).train) for fraction in (0.25, 0.5)] == [18, 12]


def test_digits_are_split_the_same_way_every_time_and_the_test_part_never_changes() -> None:
    first, again, other = (load_dataset("digits", fraction) for fraction in (0.25, 0.25, 0.5))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.fingerprint == "ca0bd0100409769a"  # of the studies there are
    assert np.array_equal(first.test.images, other.test.images)
    assert sum(map(len, parts(first))) == 1797
    assert first.train.images.max() == 240


def test_classes_are_cut_in_proportion() -> None:
    dataset = load_dataset("digits", 0.5)
    counts = [np.bincount(part.labels) for part in (dataset.train, dataset.validation)]
    assert abs(counts[0] - counts[1]).max() <= 1


@pytest.mark.parametrize(
    ("name", "validation", "options", "says"),
    [
        ("cats", 0.5, {}, "unknown data set 'cats': choose one of .*folder:PATH"),
        ("folder:", 0.5, {}, "unknown data set 'folder:'"),
        (
            "digits",
            0.0001,
            {},
            "too few to cut 0.0001 .*leaves 1 and .*ask for --validation 0.01",
        ),
        ("digits", 0.5, {"subset": 2000}, "between 10, one image a class, and the 1,437 .* 2,000"),
        ("digits", 0.5, {"subset": 9}, "--subset must lie between 10"),
        ("digits", 0.5, {"subset": 10}, "10 classes are too few .* one of each class; use more"),
        ("digits", 0.5, {"resolution": 9}, "8x8 pixels, got 9; ask for at most 8"),
    ],
)
def test_wrong_data_is_refused(
    name: str, validation: float, options: dict[str, int], says: str
) -> None:
    with pytest.raises(DatasetError, match=says):
        load_dataset(name, validation, DataOptions(**options))  # type: ignore[arg-type]


def test_a_label_that_training_never_sees_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def source(_: str, __: DataOptions) -> Source:
        train, test = ([0, 1] * 4, [0, 2])
        first, second = (Part(noise(len(of), 1, 4, 4), np.array(of)) for of in (train, test))
        return Source(None, lambda: Raw(first, second))

    monkeypatch.setitem(DATASETS, "odd", type(DATASETS["digits"])(source))
    with pytest.raises(DatasetError, match=r"between 0 and 1, .* a test image has 2"):
        load_dataset("odd", 0.5)


def test_subsets_hold_every_class_in_proportion_and_lie_inside_each_other() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    chosen = [set(stratified_subset(labels, count).tolist()) for count in (3, 30, 300, 903)]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3] == set(range(903))
    assert np.bincount(labels[list(chosen[0])]).tolist() == [1, 1, 1]
    counts = np.bincount(labels[list(chosen[2])])
    assert abs(counts - [600 / 903 * 300, 300 / 903 * 300, 1]).max() < 1
    assert np.array_equal(stratified_subset(labels, 30), stratified_subset(labels, 30))


def test_shrinking_takes_the_mean_of_an_area() -> None:
    images = noise(2, 3, 12, 8)
    small = shrunk(images, 4)
    blocks = images.reshape(2, 3, 4, 3, 4, 2).mean(axis=(3, 5))
    assert np.abs(small - blocks).max() <= 1
    stripes = np.tile(np.array([0, 255], np.uint8), (1, 1, 8, 4))
    assert np.abs(shrunk(stripes, 4).astype(int) - 128).max() <= 1  # not one of the two


def test_grey_is_luminance_and_colour_repeats_grey() -> None:
    white, green, blue = ([255, 255, 255], [0, 255, 0], [0, 0, 255])
    images = np.array([white, green, blue], np.uint8)[:, :, np.newaxis, np.newaxis]
    assert with_channels(images, 1).flatten().tolist() == [255, 150, 29]
    grey = noise(2, 1, 4, 4)
    assert np.array_equal(with_channels(grey, 3), np.concatenate([grey] * 3, axis=1))
    assert np.array_equal(with_channels(with_channels(grey, 3), 1), grey)


def test_augmentation_follows_from_the_kind_of_data_and_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "digits": Augmentation(),
        "svhn": Augmentation(crop=4),
        "cifar10": Augmentation(crop=4, flip=True),
        "cifar100": Augmentation(crop=4, flip=True),
        "fashion_mnist": Augmentation(crop=3, flip=True),
        "folder:PATH": Augmentation(crop=1, flip=True),  # 8 pixels
    }
    assert set(expected) == set(DATASETS)
    folder = at_hand("svhn", tmp_path, monkeypatch)[1]
    at_hand("folder:PATH", tmp_path, monkeypatch)
    for name, augmentation in expected.items():
        called = name.replace("PATH", str(tmp_path / "images"))
        assert load_dataset(called, 0.5, DataOptions(folder=folder)).augmentation == augmentation
    small = load_dataset("svhn", 0.5, DataOptions(folder=folder, resolution=16))
    assert small.augmentation == Augmentation(crop=2)


def test_the_name_of_a_folder_holds_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert full_name("folder:cats") == f"folder:{tmp_path}/cats"
    assert full_name("folder:~/cats") == "folder:/home/me/cats"
    assert full_name("folder:/a b/c") == "folder:/a b/c"
    assert [full_name(name) for name in ("digits", "folder:", "x:y")] == [
        "digits",
        "folder:",
        "x:y",
    ]
