"""The documents are true: commands, file tree, snippets, links and figures."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

import run_search
from search.config import make_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def commands() -> dict[str, typer.models.CommandInfo]:
    return {
        (info.name or info.callback.__name__): info
        for info in run_search.app.registered_commands
        if info.callback is not None
    }


def test_the_readme_lists_the_commands() -> None:
    table = re.findall(r"^\| `(\w+)[^|]*\|", README, flags=re.MULTILINE)
    assert table == list(commands())


def tree() -> set[str]:
    """The paths that the README's tree shows."""
    (text,) = [block for block in blocks("") if block.startswith("run_search.py")]
    paths, parents = set(), [""]
    for line in text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[: depth + 1], f"{parents[depth]}{name}"]
        paths.add(parents[-1])
    return paths


def test_the_tree_of_the_readme_is_what_lies_there() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for package in ("space", "evaluators", "storage", "search")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".json"} and path.name != "__init__.py"
    }
    folders = {f"{Path(name).parent.as_posix()}/" for name in files} | {"search/samplers/"}
    assert tree() == files | folders | {"run_search.py", "tests/", "benchmarks/", "docs/"}


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    for code in blocks("python"):
        expected = [int(number) for number in re.findall(r"#( \d+)+$", code, flags=re.MULTILINE)]
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not expected or done.stdout.split()[-1] == str(expected[-1])


def test_the_toml_of_the_readme_is_a_configuration() -> None:
    (text,) = blocks("toml")
    assert make_config(tomllib.loads(text)).backbone_arg == {"depth": 14, "width": 4}


def test_the_shell_commands_of_the_readme_exist() -> None:
    make = re.findall(r"make (\w+)", "\n".join(blocks("sh")))
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(make) <= set(targets)
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    calls = re.findall(r"run_search\.py (\w+)([^#\n]*)", text)
    assert {name for name, _ in calls} <= set(commands())
    for name, arguments in calls:
        known = subprocess.run(
            [sys.executable, "run_search.py", name, "--help"],
            cwd=ROOT,
            env={"COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for option in re.findall(r"--[a-z-]+", arguments):
            assert option in known, f"{name} has no {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_are_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_the_documents_exist(document: Path) -> None:
    for name in re.findall(r"`([\w/]+\.py)`", document.read_text()):
        assert (ROOT / name).exists() or "NAME" in name, f"{document.name} names {name}"


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_help_with_an_example(name: str) -> None:
    help_text = commands()[name].callback.__doc__ or ""
    assert f"Example: run_search.py {name}" in help_text
