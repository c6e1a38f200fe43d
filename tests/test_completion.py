"""The shell completes commands, options and names that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_architecture import modules_after

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def complete(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], list[str]]:
    """What the shell offers for a line that is being typed, in a folder without a database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISOSHARE_STORAGE", raising=False)

    def asked(line: str) -> list[str]:
        monkeypatch.setenv("_ISOSHARE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        code, out, err = command()
        assert (code, err) == (0, "")
        return out.split()

    return asked


def test_commands_options_and_names_are_completed(
    complete: Callable[[str], list[str]], small_search: Path
) -> None:
    storage = f"--storage sqlite:///{small_search / 'isoshare.db'}"
    assert {"launch", "export", "serve"} <= set(complete("isoshare "))
    assert complete("isoshare exp") == ["export"]
    sizes = ["--max-device-bytes", "--max-device-bytes-int8"]
    assert set(complete("isoshare launch --max-b")) == {"--max-bytes"}
    assert complete("isoshare launch --max-d") == sizes
    assert complete("isoshare export s --format o") == ["onnx", "onnx-int8", "optuna"]
    assert complete("isoshare export s --format t") == ["tflite"]
    assert complete("isoshare launch --backbone convm") == ["convmixer"]
    assert complete("isoshare launch --dataset f") == ["fashion_mnist", "folder:"]
    assert complete(f"isoshare pareto {storage} ") == ["s"]
    assert complete(f"isoshare studies {storage} --archive ") == ["s"]


def test_where_no_study_can_be_read_nothing_is_said(
    complete: Callable[[str], list[str]], tmp_path: Path
) -> None:
    assert complete("isoshare pareto ") == []
    assert list(tmp_path.iterdir()) == []
    assert complete("isoshare pareto --storage nonsense ") == []
    (tmp_path / "isoshare.db").write_text("no database")
    assert complete("isoshare pareto ") == []


def test_the_shell_is_told_how(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("_ISOSHARE_COMPLETE", "source_bash")
    code, out, _ = command()
    assert (code, "_ISOSHARE_COMPLETE=complete_bash" in out) == (0, True)


def test_names_are_completed_without_torch() -> None:
    code = (
        "from isoshare.search.cli.completion import backbone_names, dataset_names, study_names\n"
        "backbone_names(''), dataset_names('')"
    )
    assert not modules_after(code) & {"torch", "ray"}
