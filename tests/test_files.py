"""Files are written whole, and only where files belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoshare.space.errors import IsoshareError
from isoshare.space.files import atomic_write, check_writable


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    place = tmp_path / "null"
    place.symlink_to("/dev/null")
    for path, says in ((place, "it is a device"), (tmp_path, "Is a directory")):
        with pytest.raises(OSError, match=says), atomic_write(path) as half:
            half.write_text("text")
    for path, says in ((place, "it is a device"), (tmp_path, "it is a folder")):
        with pytest.raises(IsoshareError, match=f"cannot write {path}: {says}"):
            check_writable(path)
    assert place.is_char_device()
    assert [one.name for one in tmp_path.iterdir()] == ["null"]


@pytest.mark.parametrize("before", ["text", None])
def test_a_link_is_followed(tmp_path: Path, before: str | None) -> None:
    (tmp_path / "runs").mkdir()
    file, link = tmp_path / "runs" / "plan.json", tmp_path / "latest.json"
    if before:
        file.write_text(before)
    link.symlink_to(Path("runs/plan.json"))
    check_writable(link)
    with atomic_write(link) as half:
        half.write_text("after")
    assert link.is_symlink()
    assert file.read_text() == "after"
    assert list(file.parent.iterdir()) == [file]


def half_of_it(path: Path) -> None:
    with atomic_write(path) as half:
        half.write_text("after")
        raise OSError("the disk is full")


def test_a_file_that_fails_halfway_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("before")
    with pytest.raises(OSError, match="full"):
        half_of_it(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
