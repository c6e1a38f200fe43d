"""The tests leave alone what belongs to the person who runs them, and do not look at it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.storage.opening.database import default_url
from isoshare.storage.store import Store

ROOT = Path(__file__).parent.parent
PAGE = "test_what_a_page_tells_to_type_works[concepts.md]"


@pytest.fixture(scope="session")
def seen_by_wide_fixtures() -> tuple[Path, str, dict[str, str]]:
    """What fixtures that many tests share can see of the person."""
    return Path.cwd(), default_url(), dict(os.environ)


def test_a_test_is_in_an_empty_folder_of_its_own(
    seen_by_wide_fixtures: tuple[Path, str, dict[str, str]],
) -> None:
    folder, url, environment = seen_by_wide_fixtures
    assert not Path.cwd().is_relative_to(ROOT)
    assert not folder.is_relative_to(ROOT)
    assert [*Path.cwd().iterdir()] == []
    assert url == default_url() == "sqlite:///isoshare.db"
    assert Store(default_url()).studies() == []
    assert not [name for name in environment if name.startswith("ISOSHARE_")]
    assert not cache_folder().is_relative_to(ROOT)
    assert not cache_folder().exists() or not [*cache_folder().iterdir()]


def test_what_lies_in_the_folder_and_at_home_is_neither_read_nor_changed(tmp_path: Path) -> None:
    """A search of the same name as that of the pages, and a database that would be an error."""
    planted = [
        *("isoshare.db", "isoshare-out/digits-resnet_cifar-1/plan.json", "plan.json"),
        *("home/.cache/isoshare/prepared", "cache/prepared", "state/isoshare/settings"),
    ]
    for name in planted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    environment = {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "ISOSHARE_STORAGE": f"sqlite:///{tmp_path / 'isoshare.db'}",
        "ISOSHARE_CACHE": str(tmp_path / "cache"),
        "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache"),
    }
    tests = [f"{ROOT}/tests/test_snippets.py::{PAGE}"]
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*pytest_, "--rootdir", str(ROOT), "-p", "no:cacheprovider", *tests],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    lies = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert lies == set(planted)
    assert {(tmp_path / name).read_text() for name in planted} == {"mine"}
