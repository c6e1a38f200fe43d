"""The notebook is executed as a user would execute it, in a folder of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "your_network.ipynb"


def test_it_is_kept_without_outputs_and_without_places() -> None:
    text = NOTEBOOK.read_text()
    for cell in nbformat.reads(text, as_version=4).cells:  # type: ignore[no-untyped-call]
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert "/home" not in text
    assert str(ROOT) not in text


@pytest.mark.filterwarnings("default")  # those of Jupyter's own parts
def test_it_runs_from_the_first_cell_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "bin" / "isoshare"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom run_search import main\nmain()\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("ISOSHARE_STORAGE", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(work)}}
    done = NotebookClient(notebook, timeout=900, resources=resources).execute()
    said = "\n".join(
        output.get("text", "")
        for cell in done.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "error: " not in said, said
    assert "wrote the plan of trial" in said
    (line,) = [line for line in said.splitlines() if line.endswith("of the test images")]
    before, after = (float(word) for word in line.split() if word.startswith(("0", "1")))
    assert after > max(before, 0.5)
    shown = [o.data for c in done.cells if c.cell_type == "code" for o in c.outputs if "data" in o]
    assert any("image/svg+xml" in one for one in shown)
    assert any("image/png" in one for one in shown)
