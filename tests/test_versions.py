"""Other builds are named, the same ones are not."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from isoshare.search.drivers.versions import other_versions, versions


def test_the_same_builds_are_no_difference() -> None:
    assert versions()["torch"] == torch.__version__
    assert other_versions(versions()) == ""


def test_the_build_is_read_where_the_wheel_does_not_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('it is not imported')")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    plain = versions()["torch"]
    (tmp_path / "torch" / "version.py").write_text("__version__ = '9.9+cu999'\ncuda = '99.9'\n")
    assert (plain, versions()["torch"]) == (version("torch"), "9.9+cu999")


def test_another_build_is_named_and_other_packages_do_not_matter() -> None:
    there = {**versions(), "torch": "2.12.0+cu126", "numpy": "1.0"}
    sentence = other_versions(there)
    assert sentence == (
        f"torch is {torch.__version__} there and 2.12.0+cu126 where the search was started"
    )
    assert other_versions({**there, "torchvision": "missing"}).startswith(f"{sentence} and torch")
