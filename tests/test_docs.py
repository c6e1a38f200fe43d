"""The documents are true: commands, file tree, snippets, links and figures."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml  # type: ignore[import-untyped]  # which Ray brings
from pydantic import BaseModel

import isoshare
from benchmarks.pictures import groups_svg
from benchmarks.tree import drawn
from isoshare import apply_plan, count_parameters
from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.cli import main as cli
from isoshare.search.results.choose import plan_file
from isoshare.search.results.study_results import load_results
from isoshare.search.workflows.administration import archive
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.plan import PlanFile
from isoshare.storage.store import Store

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> dict[str, typer.models.CommandInfo]:
    return {
        (info.name or info.callback.__name__): info
        for info in cli.app.registered_commands
        if info.callback is not None
    }


def test_the_readme_lists_the_commands() -> None:
    table = re.findall(r"^\| `(\w+)[^|]*\|", README, flags=re.MULTILINE)
    assert table == list(commands())


def tree_of(document: Path) -> str:
    """The file tree that a document shows."""
    (text,) = re.findall(
        r"^```\n(run_search\.py.*?)^```$", document.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return str(text)


def paths_of(tree: str) -> set[str]:
    paths, parents = set(), [""]
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[: depth + 1], f"{parents[depth]}{name}"]
        paths.add(parents[-1])
    return paths


def test_the_tree_for_contributors_is_what_lies_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert drawn(page) == page, "draw it again: python benchmarks/tree.py"


def test_the_tree_of_the_readme_names_every_room() -> None:
    whole, short = (
        paths_of(tree_of(ROOT / "CONTRIBUTING.md")),
        paths_of(tree_of(ROOT / "README.md")),
    )
    assert short <= whole
    folders = {path for path in whole if path.endswith("/") and path.count("/") <= 2}
    assert short >= folders


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.(?:md|ipynb))\)", README))
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    assert linked == pages


def test_the_pages_build_as_a_site_with_every_public_name(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    file = ["--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*build, *file], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "api" / "index.html").read_text()
    assert [name for name in isoshare.__all__ if f'id="isoshare.{name}"' not in page] == []


def test_the_habits_of_a_project_agree() -> None:
    """What is said in several files is the same in all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert project["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    makefile = (ROOT / "Makefile").read_text()
    for command in (hook["entry"] for hook in hooks):
        assert f"\n{command.removeprefix('make ')}:" in makefile, command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_are_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_the_documents_exist(document: Path) -> None:
    for name in re.findall(r"`([\w/]+\.py)`", document.read_text()):
        assert (ROOT / name).exists() or "NAME" in name, f"{document.name} names {name}"


def test_what_is_shown_to_be_copied_imports_isoshare() -> None:
    files = [*DOCUMENTS, *ROOT.glob("docs/*.ipynb"), *(ROOT / "search").rglob("*.html")]
    rooms = re.compile(r"\b(from|import) (space|search|evaluators|storage)\b(?! of)")
    for file in files:
        shown = [line for line in file.read_text().splitlines() if "isoshare" not in line]
        assert not [line for line in shown if rooms.search(line)], file.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_behind_figures_exist(document: Path) -> None:
    for name in re.findall(r"benchmarks/\w+\.py", document.read_text()):
        assert (ROOT / name).is_file(), f"{document.name} names {name}"


def fields_of(model: type[BaseModel]) -> Iterator[str]:
    """The names that a document of this model may have, those within it included."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from fields_of(inner)


@pytest.mark.parametrize("model", [PlanFile, archive._Header, archive._Trial, archive._Context])
def test_the_page_of_file_formats_says_every_field(model: type[BaseModel]) -> None:
    page = (ROOT / "docs" / "file-formats.md").read_text()
    assert {name for name in fields_of(model) if f"`{name}`" not in page} == set()


def test_it_says_every_option_of_every_method() -> None:
    page = (ROOT / "docs" / "file-formats.md").read_text()
    for name, row in METHODS.items():
        assert f"| `{name}` | `{next(iter(row.options.model_fields))}` |" in page
        assert all(f"| `{option}` |" in page for option in row.options.model_fields)


def test_it_says_what_an_export_adds(small_search: Path) -> None:
    page = (ROOT / "docs" / "file-formats.md").read_text()
    results = load_results(Store(f"sqlite:///{small_search / 'isoshare.db'}"), "s")
    written = plan_file(results.study, results.front.members[0]).provenance
    assert {key for key in written if f"`{key}`" not in page} == set()


def test_the_plan_in_it_fits_its_backbone() -> None:
    page = (ROOT / "docs" / "file-formats.md").read_text()
    (text,) = re.findall(r"^```json\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    file = PlanFile.parse(text)
    assert file.backbone is not None
    assert file.parameters is not None
    network = build_backbone(file.backbone.name, file.backbone.arguments)
    assert count_parameters(network) == file.parameters.unshared
    assert count_parameters(apply_plan(network, file.plan)) == file.parameters.shared


@pytest.mark.parametrize("table", [OBJECTIVES, METHODS, EVALUATORS])
def test_the_concepts_name_every_row(table: Mapping[str, object]) -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert [name for name in table if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_help_with_an_example(name: str) -> None:
    help_text = commands()[name].callback.__doc__ or ""
    assert f"Example: isoshare {name}" in help_text


def test_the_picture_of_groups_is_what_is_drawn_today() -> None:
    drawn = (ROOT / "docs" / "pictures" / "groups.svg").read_text()
    assert drawn == groups_svg(), "draw it again: python benchmarks/pictures.py"


def test_every_public_name_stands_in_the_reference_with_an_example() -> None:
    page = (ROOT / "docs/api.md").read_text()
    examples = "".join(re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE))
    for name in isoshare.__all__:
        assert f"\n::: isoshare.{name}\n" in f"{page}\n", name
        assert f"isoshare.{name}" in examples, name
        assert inspect.getdoc(getattr(isoshare, name)), name
