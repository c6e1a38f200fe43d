"""The cache: whole entries or none, whoever writes, wherever it is stopped."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isoshare.evaluators.data import data_cache
from isoshare.evaluators.data.data_cache import cache_folder, fetch, store
from isoshare.evaluators.data.datasets import load_dataset
from tests.fake_data import write_folder

ROOT = Path(__file__).parent.parent
ARRAYS = {"x": np.arange(12).reshape(3, 4), "y": np.ones(2)}


def entries() -> list[str]:
    return sorted(path.name for path in (cache_folder() / "prepared").iterdir())


def test_what_is_stored_comes_back_and_cannot_be_spoiled() -> None:
    assert fetch("key") is None
    store("key", ARRAYS, {"classes": 3})
    for _ in range(2):
        found = fetch("key")
        assert found is not None
        arrays, facts = found
        assert facts["classes"] == 3
        assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
        assert type(arrays["x"]) is np.ndarray  # a memmap would be copied on its way to a worker
        arrays["x"][:] = -1
    assert entries() == ["key"]


def test_who_comes_second_leaves_the_entry_as_it_is() -> None:
    store("key", ARRAYS, {"writer": 1})
    store("key", ARRAYS, {"writer": 2})
    found = fetch("key")
    assert found is not None
    assert found[1]["writer"] == 1
    assert entries() == ["key"]


@pytest.mark.parametrize("spoiled", ["x.npy", "facts.json"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY half", None])
def test_a_spoiled_entry_is_none_and_is_replaced(spoiled: str, content: bytes | None) -> None:
    store("key", ARRAYS, {"writer": 1})
    file = cache_folder() / "prepared" / "key" / spoiled
    file.unlink() if content is None else file.write_bytes(content)
    assert fetch("key") is None
    store("key", ARRAYS, {"writer": 2})
    found = fetch("key")
    assert found is not None
    assert found[1]["writer"] == 2
    assert entries() == ["key"]


def test_a_full_disk_leaves_the_images_in_memory_with_one_warning_and_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"folder:{write_folder(tmp_path / 'images')}"
    whole = load_dataset(name, 0.25)
    monkeypatch.setenv("ISOSHARE_CACHE", str(tmp_path / "full"))
    save = data_cache._save_array
    room = [1]

    def full(path: Path, array: NDArray[np.generic]) -> None:
        if room.pop() if room else False:
            return save(path, array)
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data_cache, "_save_array", full)
    dataset = load_dataset(name, 0.25)
    assert dataset.fingerprint == whole.fingerprint
    (warning,) = dataset.warnings
    assert "No space left on device" in warning
    assert "set ISOSHARE_CACHE to a folder with room" in warning
    assert entries() == []
    monkeypatch.setattr(data_cache, "_save_array", save)
    assert load_dataset(name, 0.25).warnings == ()
    assert len(entries()) == 1


def test_a_cache_folder_that_cannot_be_made_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"folder:{write_folder(tmp_path / 'images')}"
    (tmp_path / "file").touch()
    monkeypatch.setenv("ISOSHARE_CACHE", str(tmp_path / "file" / "cache"))
    (warning,) = load_dataset(name, 0.25).warnings
    assert f"Not a directory: '{tmp_path}/file/cache" in warning


def test_no_home_folder_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"folder:{write_folder(tmp_path / 'images')}"
    monkeypatch.delenv("ISOSHARE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it does without a home
    assert "there is no home folder" in load_dataset(name, 0.25).warnings[0]


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache_folder() == Path(os.environ["ISOSHARE_CACHE"])
    monkeypatch.delenv("ISOSHARE_CACHE")
    assert cache_folder() == Path("/var/cache/me/isoshare")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/isoshare"


def test_leftovers_of_killed_processes_are_removed_after_a_day() -> None:
    store("key", ARRAYS, {})
    old, new = (cache_folder() / "prepared" / f"half-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir()
        (path / "x.npy").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    store("other", ARRAYS, {})
    assert entries() == ["half-new", "key", "other"]


def test_processes_that_prepare_the_same_images_at_once_agree(tmp_path: Path) -> None:
    name = f"folder:{write_folder(tmp_path)}"
    code = (
        "import sys; from isoshare.evaluators.data.datasets import load_dataset;"
        "print('ready', flush=True);"
        "sys.stdin.readline(); dataset = load_dataset(sys.argv[1], 0.25);"
        "print(dataset.fingerprint, dataset.warnings)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = set()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said.add(process.communicate()[0])
        assert process.returncode == 0
    assert said == {f"{load_dataset(name, 0.25).fingerprint} ()\n"}
    assert len(entries()) == 1
