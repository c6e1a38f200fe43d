"""The notebook is executed as a user would execute it, in a folder of its own."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import isoshare

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "your_network.ipynb"


def test_it_is_kept_without_outputs_and_without_places() -> None:
    text = NOTEBOOK.read_text()
    for cell in nbformat.reads(text, as_version=4).cells:  # type: ignore[no-untyped-call]
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert "/home" not in text
    assert str(ROOT) not in text


def test_it_is_short_and_never_leaves_python() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    lines = [line for text in code for line in text.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(("import ", "from "))]
    assert len(own) <= 25
    assert not any(line.startswith(("!", "%")) or "subprocess" in line for line in own)


@pytest.mark.filterwarnings("default")  # those of Jupyter's own parts
def test_it_runs_from_the_first_cell_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(tmp_path)}}
    done = NotebookClient(notebook, timeout=900, resources=resources).execute()
    outputs = [o for cell in done.cells if cell.cell_type == "code" for o in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs)
    (right,) = re.findall(r"parameters, (0[.][0-9]+) of the last images", said)
    assert float(right) > 0.5
    shown = [output.data for output in outputs if "data" in output]
    assert any("data:image/png" in one.get("text/html", "") for one in shown)
    assert sum("application/vnd.plotly.v1+json" in one for one in shown) == 2
    assert any("12/12 trials" in one.get("text/plain", "") for one in shown)
    assert isoshare.load_study("digits", f"sqlite:///{tmp_path / 'digits.db'}").front
    assert isoshare.SharingPlan.load(tmp_path / "plan.json").banks
