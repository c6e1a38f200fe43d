"""The examples end with a front; those that need libraries of their own run on demand."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ALL = os.environ.get("ISOSHARE_ALL_EXAMPLES") == "1"
LIGHT = {"audio": 40, "keypoints": 50, "segmentation": 16}
"""Those that need nothing but PyTorch, and how many examples they are cut down to."""


def cut_down(path: Path) -> str:
    """What an example prints with three trials of an epoch."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        study = runpy.run_path(str(path))["main"](trials=3, epochs=1, count=LIGHT[path.stem])
    assert [trial.state for trial in study.trials] == ["finished"] * 3
    return said.getvalue()


def as_it_is(path: Path, folder: Path) -> str:
    """What it prints when a user runs it, within a minute of one core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, path],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 60
    return done.stdout


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if ALL or path.stem in LIGHT], ids=lambda path: path.stem
)
def test_an_example_ends_with_a_front(path: Path, tmp_path: Path) -> None:
    front = (as_it_is(path, tmp_path) if ALL else cut_down(path)).splitlines()
    assert re.search(r"parameters +sharing$", front[0])
    assert len(front) > 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_names_it(path: Path) -> None:
    assert f"`examples/{path.name}`" in (ROOT / "docs" / "examples.md").read_text()
