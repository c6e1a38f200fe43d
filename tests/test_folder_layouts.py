"""Folders of images as people keep them: recognised, or refused with what was found."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from isoshare.evaluators.data.augmentation import Augment
from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.data.description import describe_dataset
from isoshare.evaluators.data.duplicates import find_duplicates
from isoshare.evaluators.data.folders.folder_layout import part_name
from isoshare.evaluators.data.folders.folder_listing import list_folder
from isoshare.evaluators.data.splits import DatasetError
from tests.fake_data import noise, write_classes, write_image


def load(root: Path, validation: float = 0.25) -> Dataset:
    return load_dataset(f"folder:{root}", validation)


def write_all(root: Path, places: dict[str, int]) -> Path:
    """So many different images in each folder."""
    for number, (place, count) in enumerate(places.items()):
        (root / place).mkdir(parents=True, exist_ok=True)
        for image in range(count):
            pixels = noise(8, 8, 3, seed=100 * number + image)
            write_image(root / place / f"{image}.png", pixels)
    return root


def split(*parts: str, each: int = 4) -> dict[str, int]:
    return {f"{part}/{name}": each for part in parts for name in ("cat", "dog")}


@pytest.mark.parametrize(
    ("places", "counts"),
    [
        (split("Train", "Test"), (6, 2, 8)),
        (split("training_set", "test_set"), (6, 2, 8)),
        (split("seg_train/seg_train", "seg_test/seg_test"), (6, 2, 8)),
        (split("train", "valid", "test"), (8, 8, 8)),
        (split("TRAIN", "TEST"), (6, 2, 8)),
        (split("trainA", "testA"), (6, 2, 8)),
        (split("images_train", "images-test"), (6, 2, 8)),
        (split("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val", each=5), (8, 10, 2)),
        (split("train", "extra", "test"), (6, 2, 8)),
        (split("train", "test", "__MACOSX/train"), (6, 2, 8)),
        ({"cat/cat": 10, "dog/dog": 10, "@eaDir/cat": 3}, (12, 4, 4)),
        (split("train", "val", each=5), (8, 10, 2)),
        (split("data", each=10), (12, 4, 4)),
        (split("archive/photos", each=10), (12, 4, 4)),
        (split("archive/train", "archive/test", "__MACOSX/train"), (6, 2, 8)),
        ({**split("train", each=10), "test": 7}, (12, 4, 4)),
        ({**split("train", "test"), "Test/.ipynb_checkpoints": 2}, (6, 2, 8)),
        ({"cat": 10, "dog": 10, "dog/.ipynb_checkpoints": 3, ".git/x": 2}, (12, 4, 4)),
        ({"train": 10, "bus": 10}, (12, 4, 4)),  # vehicles
        ({f"{name}/{side}": 5 for name in ("a", "b") for side in ("left", "right")}, (12, 4, 4)),
        ({"train/Cat": 4, "train/dog": 4, "test/cat": 2, "test/Dog": 1}, (6, 2, 3)),
        ({"train/\u00e9": 4, "train/b": 4, "test/e\u0301": 2, "test/B ": 1}, (6, 2, 3)),
        ({"cat/images": 10, "cat/masks": 10, "dog/images": 10, "dog/masks": 10}, (12, 4, 4)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, dict) else "",
)
def test_layouts_are_recognised(
    tmp_path: Path, places: dict[str, int], counts: tuple[int, ...]
) -> None:
    dataset = load(write_all(tmp_path, places))
    parts = (dataset.train, dataset.validation, dataset.test)
    assert (tuple(map(len, parts)), dataset.classes) == (counts, 2)


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ({"train": 4, "test": 4}, r"test/ and train/ .* hold images but no class folders"),
        (split("train", "cats"), r"train has class folders, but cats beside it is neither a test"),
        (split("test"), r"test has class folders but there is no train folder"),
        (split("train", "training"), r"train and .*training could both be the train part"),
        ({"images": 4, "labels": 0}, r"images and labels, as sets for detection and segmentation"),
        (
            {"train/images": 4, "train/labels": 0, "valid/images": 4},
            r"train holds images and labels",
        ),
        (
            {"images/train": 4, "images/val": 4, "labels/train": 0},
            r"holds images and labels, as sets",
        ),
        ({"x/cat": 4, "x/Cat": 4}, r"'Cat' and 'cat' of .*x differ in case, spaces or"),
        ({"x/caf\u00e9": 4, "x/cafe\u0301": 4}, r"differ in case, spaces or the code of an accent"),
        (
            split("fold1", "fold2"),
            r"fold1, fold2 of .* all hold folders cat and dog, so they are no",
        ),
        (
            {f"{name}/{part}": 4 for name in ("cat", "dog") for part in ("train", "test")},
            r"cat and the others beside it hold folders test and train, as classes do",
        ),
        ({"images": 4}, r"images has 0 \(4 images in no folder\): put the images into PATH/CLASS/"),
        ({"JPEGImages": 4, "Annotations": 0}, r"annotations and jpegimages, as sets for detection"),
        ({**split("train", "test"), "test/cow": 4}, r"class 'cow' is in .*test but not in .*train"),
        (
            {**split("train", "test"), "test/cow": 0},
            r"class 'cow' is empty: .*test/cow has no file",
        ),
        (split("train", "holdout"), r"holdout beside it is neither a test nor a validation part"),
        ({f"c{i}": 5 for i in range(20)}, r"20 classes are too few to .* --validation 0.25, use"),
        ({f"c{i}": 3 for i in range(20)}, r"cut 0.2 of them off for test: that leaves 12 and 48"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, dict) else "",
)
def test_others_are_refused_with_what_was_found(
    tmp_path: Path, places: dict[str, int], says: str
) -> None:
    with pytest.raises(DatasetError, match=says):
        load(write_all(tmp_path, places), 0.2)


@pytest.mark.parametrize("folder", [".", "images"])
def test_a_table_of_labels_is_named(tmp_path: Path, folder: str) -> None:
    write_all(tmp_path, {folder: 4})
    (tmp_path / "labels.csv").write_text("0.png,cat")
    with pytest.raises(DatasetError, match=r"4 images in no folder and labels.csv, which is not"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"train/_classes.csv": ""}, r"no class folders \(_classes.csv, which is not read\)"),
        ({"annotations.json": ""}, r"\(annotations.json, which is not read\)"),
        ({"labels.txt": "", "README.txt": ""}, r"\(labels.txt, which is not read\)"),
        ({"more.zip": ""}, r"\(more.zip, which is to be unpacked\)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_lies_beside_images_without_classes_is_named(
    tmp_path: Path, files: dict[str, str], says: str
) -> None:
    write_all(tmp_path, {"train": 4, "val": 4})
    for place, text in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    with pytest.raises(DatasetError, match=says):
        load(tmp_path)


def test_a_part_that_lacks_classes_is_named(tmp_path: Path) -> None:
    root = write_all(tmp_path, {**split("train"), "train/cow": 4, "val/cat": 2, "test/dog": 2})
    held_out, tested = load(root).warnings
    assert held_out == (
        "the validation images show 1 of 3 classes, so nothing is measured on the others: cow, dog"
    )
    assert tested.startswith("the test images show 1 of 3 classes")


def test_a_link_back_up_is_no_class(tmp_path: Path) -> None:
    root = write_all(tmp_path, {"cat": 8, "dog": 8})
    (root / "all").symlink_to(".")
    (root / "more").symlink_to(root.parent)
    assert load(root).classes == 2
    assert "left out, linked folders: 2" in list_folder(root).notes


def test_linked_classes_are_classes(tmp_path: Path) -> None:
    write_all(tmp_path, {"far/a": 8, "far/b": 8, "set/c": 8})
    for name in "ab":
        (tmp_path / "set" / name).symlink_to(tmp_path / "far" / name)
    assert load(tmp_path / "set").classes == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("1.tar", "1 .tar, which are to be unpacked"),
        ("1", "1 without a suffix, which are to be given the suffix of what they are"),
        ("1.mp4", "1 .mp4, which are to be converted to JPEG or PNG"),
    ],
)
def test_what_a_class_holds_in_the_place_of_images_is_named(
    tmp_path: Path, name: str, says: str
) -> None:
    root = write_all(tmp_path, {"a": 8, "b": 8, "c": 0})
    (root / "c" / name).write_text("")
    with pytest.raises(DatasetError, match=f"class 'c' is empty but for {says}"):
        load(root)


@pytest.mark.parametrize(
    "name", ["0_mask", "0-mask", "0 mask_1", "0mask", "0_gt", "0_seg", "0_label"]
)
def test_masks_beside_images_are_left_out(tmp_path: Path, name: str) -> None:
    root = write_all(tmp_path, {"a": 8, "b": 8})
    write_image(root / "a" / f"{name}.png", noise(8, 8, 3, seed=4711))
    listing = list_folder(root)
    assert len(listing.paths) == 16
    assert listing.notes == ("left out, masks beside their images: 1",)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("TRAIN", "train"),
        ("test-set", "test"),
        ("Validation_Set", "validation"),
        ("tests", None),
        ("contest", None),
        ("train test", None),
        ("trainers", None),
        ("trainA", "train"),
        ("myTestSet", "test"),
        ("Constant", None),
    ],
)
def test_parts_are_known_by_whole_words(name: str, part: str | None) -> None:
    assert part_name(name) == part


def test_a_class_of_files_that_are_not_read_is_named_with_the_way_out(tmp_path: Path) -> None:
    root = write_classes(tmp_path, 8)
    (root / "c").mkdir()
    for name in ("1.heic", "2.HEIC", "notes.txt"):
        (root / "c" / name).write_text("pixels")
    with pytest.raises(DatasetError, match=r"'c' is empty but for 2 .heic, which are to be conv"):
        load(root)


def test_floating_point_pixels_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("F", (8, 8), number).save(tmp_path / name / f"{number}.tif")
    with pytest.raises(DatasetError, match=r"none of the 8 images in .* floating-point numbers"):
        load(tmp_path)


def test_what_was_left_out_and_why_is_said(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", 8)
    for hidden in (tmp_path / "__MACOSX" / "x", root / ".git", root / "a" / ".ipynb_checkpoints"):
        hidden.mkdir(parents=True)
        write_image(hidden / "copy.png")
    (root / "a" / "._000.png").write_text("of a Mac")
    for name in ("1.heic", "2.heic", "3.npy"):
        (root / "a" / name).write_text("pixels")
    (root / "a" / "data.yaml").write_text("")
    write_image(root / "a" / "000_mask.png")
    write_image(root / "b" / "mask_of_no_image_mask.png", noise(8, 8, 3, seed=77))
    (root / "b" / "more").symlink_to(root / "a")
    listing = list_folder(tmp_path)
    assert listing.notes == (
        f"the images are in {root}",
        "left out, no images: 1 .yaml",
        "left out, masks beside their images: 1",
        "left out, hidden or made by systems: 4",
        "left out, linked folders: 1",
    )
    (warning,) = listing.warnings
    assert warning.startswith("files of these kinds are not read and left out: 2 .heic, 1 .npy; co")
    assert len(listing.paths) == 17


def test_images_of_a_camera_on_its_side_count_by_their_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for place in range(16):
        (tmp_path / "ab"[place % 2]).mkdir(exist_ok=True)
        picture = Image.fromarray(noise(20, 40, 3, seed=place))
        picture.save(tmp_path / "ab"[place % 2] / f"{place}.png", exif=exif)
    assert load(tmp_path).image_shape == (3, 40, 20)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_pixels_keep_their_range(tmp_path: Path, bits: int) -> None:
    for place in range(16):
        (tmp_path / "ab"[place % 2]).mkdir(exist_ok=True)
        pixels = noise(8, 8, seed=place).astype(np.uint16) << (bits - 8)
        Image.fromarray(pixels).save(tmp_path / "ab"[place % 2] / f"{place}.tif")
    dataset = load(tmp_path)
    assert np.array_equal(np.sort(dataset.train.images[0].ravel())[-1:] // 128, [1])
    assert f"read as {bits} bits a pixel, by the largest value: 16 deep images" in dataset.notes


def test_pixels_beyond_any_camera_are_named(tmp_path: Path) -> None:
    write_classes(tmp_path, 8)
    for name, value in (("scan.tif", -1000), ("sum.tif", 70_000)):
        Image.fromarray(np.full((8, 8), value, np.int32)).save(tmp_path / "a" / name)
    (warning,) = load(tmp_path).warnings
    assert warning.startswith("2 of 18 images cannot be read and are left out: a/")


def test_duplicates_in_the_test_part_are_reported(tmp_path: Path) -> None:
    smooth = np.linspace(0, 200, 32 * 32).reshape(32, 32).astype(np.uint8) // 3 + noise(32, 32) // 4
    for part in ("train", "test"):
        for name in "ab":
            write_classes(tmp_path / part, 6, name, 32, first=10 * ord(name) + 1000 * len(part))
    write_image(tmp_path / "train" / "a" / "1.png", smooth)
    write_image(tmp_path / "test" / "b" / "again.png", smooth)
    write_image(tmp_path / "test" / "b" / "paler.png", smooth // 2 + 60)
    (warning,) = load(tmp_path).warnings
    assert warning.startswith("2 of 14 test images are among the training images too, 1 exactly")
    assert "test/b/again.png = train/a/1.png" in warning


def test_different_images_are_no_duplicates() -> None:
    digits = load_dataset("digits", 0.25)
    assert find_duplicates(digits.train.images, digits.test.images) == ([], 0)
    flat = np.full((3, 1, 8, 8), 7, np.uint8)
    assert find_duplicates(flat, flat + 1) == ([], 0)


def test_a_data_set_describes_itself(tmp_path: Path) -> None:
    folder = load(write_all(tmp_path, split("data", each=10)))
    first, training, *_ = describe_dataset(folder, "auto")
    assert first.endswith(
        ": 2 classes (cat, dog); images: 12 to train, 4 to validate, 4 to test; 8x8 pixels, "
        "in colour"
    )
    assert "shifted by up to 1 pixel, not mirrored, which may change what they show" in training
    assert "mirrored by chance" in describe_dataset(folder, "standard")[1]
    assert "left as they are" in describe_dataset(folder, "none")[1]


def test_mirroring_is_for_what_is_known_to_stay_the_same() -> None:
    digits = load_dataset("digits", 0.25)
    assert not any(digits.augmentation_by(augment).flip for augment in get_args(Augment))


def test_classes_that_all_hold_the_same_folders_are_said(tmp_path: Path) -> None:
    outer, inner = ("apprentissage", "essai"), ("cat", "dog")
    crossed = load(write_all(tmp_path / "x", {f"{a}/{b}": 5 for a in outer for b in inner}))
    assert any("each class holds folders cat, dog, which" in note for note in crossed.notes)
    people = {f"{a}/s{b}": 5 for a in inner for b in (1, 2)}
    assert not load(write_all(tmp_path / "y", people)).notes


def test_a_link_to_itself_is_passed_by(tmp_path: Path) -> None:
    write_all(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "loop").symlink_to("loop")
    assert load(tmp_path).classes == 2
