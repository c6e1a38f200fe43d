"""Image folders as users have them: any size, any kind of image, broken files, odd layouts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.data.folders import image_folder
from isoshare.evaluators.data.folders.decoding import decode
from isoshare.evaluators.data.splits import DataOptions, DatasetError
from tests.fake_data import forbidden, noise, write_classes, write_folder, write_image


def load(root: Path, **options: int) -> Dataset:
    return load_dataset(f"folder:{root}", 0.5, DataOptions(**options))  # type: ignore[arg-type]


def test_both_layouts_hold_all_images(tmp_path: Path) -> None:
    two = load(write_folder(tmp_path / "two"))
    assert [len(part) for part in (two.train, two.validation, two.test)] == [12, 12, 8]
    one = load(write_classes(tmp_path / "one", 10, "abc"))
    assert [len(part) for part in (one.train, one.validation, one.test)] == [12, 12, 6]
    assert np.bincount(one.test.labels).tolist() == [2, 2, 2]
    assert (one.classes, one.in_channels) == (3, 3)


def test_labels_are_the_classes_in_alphabetical_order(tmp_path: Path) -> None:
    for label, name in enumerate(("Zebra", "ant", "bee")):
        for part in ("train", "test"):
            for number in range(4):
                write_image(tmp_path / part / name / f"{number}.png", np.full((4, 4), label, "u1"))
    dataset = load(tmp_path)
    for cut in (dataset.train, dataset.validation, dataset.test):
        assert np.array_equal(cut.images[:, 0, 0, 0], cut.labels)


def test_what_is_no_image_or_hidden_is_ignored_and_images_may_lie_deeper(tmp_path: Path) -> None:
    write_classes(tmp_path, 4)
    (tmp_path / "README.txt").write_text("no image")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "._000.png").write_text("what another system leaves")
    write_image(tmp_path / ".thumbnails" / "x.png")
    write_image(tmp_path / "a" / "deeper" / "LAST.PNG", noise(8, 8, 3, seed=99))
    dataset = load(tmp_path)
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 9
    assert dataset.warnings == ()
    assert dataset.notes == (
        "left out, no images: 1 .txt",
        "left out, hidden or made by systems: 2",
    )


def test_grey_images_have_one_channel_and_become_colour_beside_colour(tmp_path: Path) -> None:
    for place in range(4):
        write_image(tmp_path / "a" / f"{place}.png", noise(8, 8, seed=place))
        write_image(tmp_path / "b" / f"{place}.png", noise(8, 8, 3, seed=place), "L")
    assert load(tmp_path).in_channels == 1
    assert load(tmp_path, channels=3).in_channels == 3
    write_image(tmp_path / "b" / "colour.png")
    assert load(tmp_path).in_channels == 3
    assert load(tmp_path, channels=1).in_channels == 1


def test_every_kind_of_image_shows_what_it_shows(tmp_path: Path) -> None:
    """The same picture, stored in all ways, and transparent pixels over white."""
    colour = noise(8, 8, 3)
    colour[4:] = 255
    clear = np.dstack([colour, np.full((8, 8), 255, np.uint8)])
    clear[4:] = (1, 2, 3, 0)  # invisible
    for name, pixels in (("rgb.png", colour), ("rgba.png", clear), ("bmp.bmp", colour)):
        file = write_image(tmp_path / name, pixels)
        assert np.array_equal(decode(str(file), 8, 8, 3), colour.transpose(2, 0, 1)), name
    palette = Image.fromarray(colour).quantize(256)
    palette.save(tmp_path / "palette.png")
    expected = np.array(palette.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(decode(str(tmp_path / "palette.png"), 8, 8, 3), expected)
    palette.save(tmp_path / "clear.png", transparency=palette.getpixel((7, 7)))
    expected[:, 4:] = 255
    assert np.array_equal(decode(str(tmp_path / "clear.png"), 8, 8, 3), expected)


def test_every_kind_of_grey_image_shows_what_it_shows(tmp_path: Path) -> None:
    grey = noise(8, 8)
    deep = grey.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "deeper.tif")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.merge("LA", [Image.fromarray(grey), Image.new("L", (8, 8), 255)]).save(
        tmp_path / "alpha.png"
    )
    for file in tmp_path.iterdir():
        assert np.array_equal(decode(str(file), 8, 8, 1)[0], grey), file.name
        assert np.array_equal(decode(str(file), 8, 8, 3)[1], grey), file.name


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(decode(str(tmp_path / "x.png"), 6, 4, 1)[0], np.rot90(pixels, -1))


def test_images_of_different_sizes_come_to_the_median_size(tmp_path: Path) -> None:
    write_classes(tmp_path, 5, side=8)
    write_image(tmp_path / "a" / "large.png", noise(40, 30, 3))
    write_image(tmp_path / "b" / "flat.png", noise(2, 16, 3))
    assert load(tmp_path).train.images.shape[2:] == (8, 8)
    assert load(tmp_path, resolution=4).train.images.shape[2:] == (4, 4)
    with pytest.raises(DatasetError, match="never enlarges: the images have 8x8 pixels, got 9"):
        load(tmp_path, resolution=9)


def test_broken_images_are_counted_named_and_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    whole = load(root)
    good = (root / "train" / "a" / "000.png").read_bytes()
    (root / "train" / "a" / "cut.png").write_bytes(good[: len(good) // 2])
    (root / "train" / "b" / "empty.png").touch()
    (root / "test" / "b" / "text.jpg").write_text("no image at all")
    (root / "test" / "b" / "gone.png").symlink_to("nothing")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(root / "train" / "b" / "float.tif")
    for _ in range(2):  # the second one comes from the cache
        dataset = load(root)
        (warning,) = dataset.warnings
        assert warning.startswith("5 of 37 images cannot be read and are left out: ")
        assert warning.endswith(" and 2 more")
        assert sum(f"{path}" in warning for path in ("cut.png", "empty.png", "gone.png")) >= 1
        assert dataset.fingerprint == whole.fingerprint


@pytest.mark.parametrize("kind", ["fifo", "link", "truncated", "huge", "HEIC", "a page", "newline"])
def test_what_cannot_be_read_is_named_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    root = write_classes(tmp_path / "images", 8)
    place = root / "a" / ("new\nline.png" if kind == "newline" else "x.png")
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("nowhere.png")
    elif kind == "huge":
        Image.new("1", (20_000, 20_000)).save(place)
    elif kind == "truncated":
        whole = write_image(tmp_path / "whole.png", noise(64, 64, 3)).read_bytes()
        place.write_bytes(whole[: len(whole) // 2])
    else:
        place.write_bytes(b"\0\0\0\x18ftypheic" if kind == "HEIC" else b"<html>404</html>")
    (warning,) = load(root).warnings
    name = "new?line.png" if kind == "newline" else "x.png"
    assert warning == f"1 of 17 images cannot be read and are left out: a/{name}"


@pytest.mark.parametrize("suffix", [".pbm", ".pnm", ".apng", ".mpo", ".jfif", ".jp2", ".avif"])
def test_less_common_kinds_of_files_are_read(tmp_path: Path, suffix: str) -> None:
    root = write_classes(tmp_path, 8)
    picture = Image.fromarray(noise(8, 8, 3, seed=77))
    formats = {".pbm": "PPM", ".pnm": "PPM", ".apng": "PNG", ".mpo": "MPO"}
    picture.save(root / "a" / f"x{suffix}", format=formats.get(suffix))
    dataset = load(root)
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 17
    assert (dataset.warnings, dataset.notes) == ((), ())


def test_a_changed_folder_is_read_again(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    first = load(root).fingerprint
    write_image(root / "train" / "a" / "000.png", noise(8, 8, 3, seed=99))
    second = load(root).fingerprint
    write_image(root / "train" / "a" / "new.png", noise(8, 8, 3, seed=98))
    assert len({first, second, load(root).fingerprint}) == 3


def test_only_the_subset_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_classes(tmp_path, 40)
    decoded = []

    def counting(path: str, **size: int) -> np.ndarray:
        decoded.append(path)
        return decode(path, **size)

    monkeypatch.setattr(image_folder, "decode", counting)
    dataset = load(root, subset=10)
    assert len(decoded) == 10 + 16  # and the test images
    assert len(dataset.train) == len(dataset.validation) == 5


def test_more_than_memory_holds_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    monkeypatch.setattr(image_folder, "decode", forbidden("decoded"))
    with pytest.raises(DatasetError, match=r"32 images of 8x8 .* ask for less with --resolution"):
        load(root)


def spoil(root: Path, how: str) -> Path:
    """A folder in two parts, made wrong."""
    write_folder(root)
    if how == "unknown class":
        write_image(root / "test" / "zebra" / "1.png")
    if how == "empty class":
        (root / "train" / "c").mkdir()
    if how == "no test":
        (root / "test").rename(root / "elsewhere")
    if how == "one image":
        write_image(root / "train" / "c" / "1.png")
    if how == "nothing":
        return root / "train" / "a"
    if how == "vanished":
        return root / "gone"
    if how == "file":
        return root / "train" / "a" / "000.png"
    if how == "one class":
        (root / "train" / "b").rename(root / "b")
    if how in {"all broken", "class broken", "test broken"}:
        place = {"all broken": "*", "class broken": "train/b", "test broken": "test/*"}[how]
        for file in root.glob(f"{place}/**/*.png"):
            file.write_text("no image")
    return root


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "unknown class",
            r"class 'zebra' is in .*test but not in .*train: every class needs",
        ),
        ("empty class", r"class 'c' is empty: .*train/c has no file that ends in .apng, .*remove"),
        ("no test", r"train has class folders, but elsewhere beside it is neither"),
        ("one image", r"class 'c' of .*train needs 2 readable images or more.* it has 1: add some"),
        (
            "nothing",
            r"two or more class folders, .*train/a has 0 .12 images in no folder.: put the images",
        ),
        ("vanished", r"cannot read the image folder .*gone: No such file or directory; check"),
        ("file", r"cannot read the image folder .*000.png: Not a directory"),
        ("one class", r"two or more class folders, .*train has 1"),
        ("all broken", r"none of the 32 images in .* can be read: cannot identify image file"),
        ("class broken", r"class 'b' of .* needs 2 readable images or more.* it has 0"),
        ("test broken", r"no test image in .* can be read: replace them"),
    ],
)
def test_wrong_folders_are_refused(tmp_path: Path, how: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        load(spoil(tmp_path / "images", how))


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "1.png")
    write_image(tmp_path / "b" / "1.png")
    with pytest.raises(DatasetError, match=r"class 'a' of .* needs 3 readable images or more"):
        load(tmp_path)


def test_a_program_with_the_name_of_a_picture_is_not_run(tmp_path: Path) -> None:
    write_classes(tmp_path, 8)
    lines = (b"%!PS-Adobe-3.0 EPSF-3.0", b"%%BoundingBox: 0 0 8 8", b"%%EndComments", b"showpage")
    (tmp_path / "a" / "x.png").write_bytes(b"\n".join((*lines, b"%%EOF\n")))
    (warning,) = load(tmp_path).warnings
    assert warning == "1 of 17 images cannot be read and are left out: a/x.png"


def test_images_without_contrast_are_said(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for place in range(8):
            write_image(tmp_path / name / f"{place}.png", noise(8, 8, 3, seed=place) // 16)
    assert any("is above 15 of 255" in warning for warning in load(tmp_path).warnings)
