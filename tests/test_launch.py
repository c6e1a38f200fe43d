"""Going on with a search: its data may have moved, but must be the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoshare.evaluators.data.datasets import moved_to
from isoshare.evaluators.data.splits import DatasetError
from isoshare.evaluators.data.torchvision_sets import SETS
from isoshare.search.config import make_config
from isoshare.search.workflows.launch import prepare, prepare_resume, start
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store
from tests.fake_data import write_classes, write_folder

SMALL = {"backbone": "resnet_cifar", "backbone_arg": {"depth": 8, "width": 2}, "trials": 2}


def test_a_folder_that_has_moved_is_named_and_its_images_are_checked(
    store: Store, tmp_path: Path
) -> None:
    images = write_folder(tmp_path / "images")
    config = make_config({**SMALL, "study": "s", "dataset": f"folder:{images}"})
    start(prepare(config, store), store)
    moved = images.rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="cannot read the image folder"):
        prepare_resume("s", store, {})
    there = prepare_resume("s", store, {"data_folder": str(moved)})
    assert there.config.dataset == f"folder:{moved}"
    assert there.conditions["dataset"] == store.study("s").context.dataset.fingerprint

    write_classes(moved / "train", 1, first=900)  # one image more in each class
    with pytest.raises(
        IsoshareError, match="is not what study 's' was started on: its fingerprint"
    ):
        prepare_resume("s", store, {"data_folder": str(moved)})


def test_downloads_keep_their_name_and_bundled_data_cannot_move() -> None:
    for name in SETS:
        assert moved_to(name, "/new") == {}, "the folder is an option of its own"
    with pytest.raises(DatasetError, match=r"'digits' is bundled, .* leave out --data-folder"):
        moved_to("digits", "/new")
