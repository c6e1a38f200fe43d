"""The folder list is the architecture: imports go one way, and boundaries hold while running."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import isoshare

ROOT = Path(__file__).parent.parent
OURS = ("space", "evaluators", "storage", "search")

ROOMS = ("search/samplers", "search/drivers", "search/results", "search/solver", "search/workflows")
ROOMS_OF_EVALUATORS = (
    *("evaluators/data", "evaluators/own_code", "evaluators/sensitivities"),
    "evaluators/training",
)
CORE = {"search", "search/options", "evaluators", *ROOMS_OF_EVALUATORS, "storage", "space"}
ROOMS_OF_SERVICE = tuple(f"search/service/{name}" for name in ("runs", "studies", "access", "rest"))
SERVED = {
    *CORE,
    *ROOMS,
    *(f"search/service/{name}" for name in ("audit", "bodies", "errors", "events", "models")),
    "search/service/settings",
}
"""What any room of the service may use: what lies under the rooms of search/, and plain values."""
MAY_IMPORT = {
    "space": {"space"},
    "storage": {"storage", "space/plan", "space/sites", "space/errors"},
    "evaluators/data": {"evaluators/data", "space"},
    "evaluators/training": {"evaluators/data", "evaluators/training", "space"},
    "evaluators/own_code": {
        "evaluators/data",
        "evaluators/own_code",
        "evaluators/training",
        "space",
    },
    "evaluators/sensitivities": {"evaluators/sensitivities", "space"},
    "evaluators": {"evaluators", *ROOMS_OF_EVALUATORS, "space"},
    "search/options": {"search/options", "evaluators", "evaluators/data", "space", "storage"},
    "search": CORE,
    "search/samplers": {*CORE, "search/samplers"},
    "search/drivers": {*CORE, "search/drivers"},
    "search/results": {*CORE, "search/results"},
    "search/solver": {*CORE, "search/solver"},
    "search/workflows": {*CORE, *ROOMS},
    "search/study": {*CORE, *ROOMS},
    "search/service/runs": {*SERVED, "search/service/runs"},
    "search/service/studies": {*SERVED, "search/service/runs", "search/service/studies"},
    "search/service/access": {*SERVED, "search/service/studies", "search/service/access"},
    "search/service/rest": {*SERVED, *ROOMS_OF_SERVICE},
    "search/service/pages": {*SERVED, *ROOMS_OF_SERVICE, "search/service/pages"},
    "search/service": {*SERVED, *ROOMS_OF_SERVICE, "search/service", "search/service/pages"},
    "search/cli": {*CORE, *ROOMS, "search/service", "search/cli"},
    "run_search": {"search/cli"},
}
"""Folder by folder, what it may import of ours: a folder stands for the files in it, the rooms of
search/ and evaluators/ are folders of their own. The service and the command line use whatever
workflows return, but never each other's way round."""
HOMES = {
    "ray": {f"search/drivers/ray_{name}.py" for name in ("cluster", "driver", "worker")},
    "optuna": {
        "search/samplers/optuna_sampler.py",
        "search/samplers/for_optuna.py",
        "search/results/optuna_file.py",
    },
    "sqlalchemy": {"storage"},
    "alembic": {"storage/schema.py", "storage/migrations"},
    "plotly": {
        f"search/results/pictures/{name}.py" for name in ("drawing", "plan_figure", "turnable")
    },
    "pandas": {"search/results/in_python/dataframe.py"},
    "IPython": {"search/results/in_python/progress_line.py"},
    "greenlet": {"evaluators/own_code/stepwise.py"},
    "cloudpickle": {"evaluators/own_code/by_value.py"},
    "matplotlib": {"search/results/pictures/drawing.py"},
    "jinja2": {"search/results/reports/report.py"},
    "moocore": {"search/pareto.py"},
    "sklearn": {
        "evaluators/data/datasets.py",
        "evaluators/data/splits.py",
        "search/samplers/surrogate.py",
    },
    "scipy": {
        "evaluators/inheriting/output_agreement.py",
        "search/samplers/ehvi.py",
        "search/solver/plan_program.py",
    },
    "pyarrow": {"evaluators/sharebench.py"},
    "PIL": {"evaluators/data/folders/decoding.py", "evaluators/data/pixels.py"},
    "torchvision": {"evaluators/data/torchvision_sets.py", "space/backbones"},
    "safetensors": {"space/weights/saving.py", "space/weights/weight_files.py"},
    "typer": {"search/cli"},
    "onnx_ir": {"space/exports/onnx_file.py", "space/exports/onnx_norms.py"},
    "onnxscript": {"space/exports/onnx_file.py"},
    "onnxruntime": {"space/exports/onnx_file.py", "space/exports/onnx_int8.py"},
    "onnx": {"space/exports/onnx_int8.py"},
    "ai_edge_litert": {"space/exports/tflite"},
    "flatbuffers": {"space/exports/tflite"},
    "fastapi": {"search/service"},
    "starlette": {"search/service"},
    "uvicorn": {"search/service/server.py"},
    "prometheus_client": {"search/service/access/metrics.py"},
    "cachetools": {"search/service/access/guard.py", "search/service/studies/snapshot.py"},
    "tenacity": {"storage/transactions.py"},
    "platformdirs": {"evaluators/data/data_cache.py"},
}
TORCH_FREE = (
    "space/plan.py",
    "space/search_space.py",
    "storage",
    "search/results",
    "search/workflows/administration/manage.py",
    "search/workflows/administration/archive.py",
    "search/cli/completion.py",
    "search/config.py",
    "search/workflows/exporting/export.py",
    "search/workflows/exporting/export_source.py",
    "search/results/optuna_file.py",
    "search/service",
    "search/study_names.py",
    "search/options",
    "search/cli/commands",
    "search/cli/option_types.py",
    "search/cli/options.py",
    "search/cli/session.py",
    "search/cli/terminal.py",
    "run_search.py",
    "evaluators/__init__.py",
    "evaluators/data/augmentation.py",
    "evaluators/objectives.py",
    "evaluators/data/data_cache.py",
    "evaluators/data/datasets.py",
    "evaluators/data/folders/decoding.py",
    "evaluators/data/folders/image_folder.py",
    "evaluators/data/splits.py",
    "evaluators/data/pixels.py",
    "evaluators/sharebench.py",
    "evaluators/data/torchvision_sets.py",
)
HEAVY = {"torch", "torchvision", "ray"}


def sources(root: Path = ROOT) -> list[Path]:
    files = [path for package in OURS for path in (root / package).rglob("*.py")]
    return sorted([*files, root / "run_search.py"])


def imports(path: Path, at_runtime_of_import: bool = False) -> frozenset[str]:
    """The modules that a file imports: anywhere, or only when it is itself imported."""
    return imports_of(path.read_text(), at_runtime_of_import)


@cache
def imports_of(text: str, at_runtime_of_import: bool) -> frozenset[str]:
    """Those of a file with this text."""
    tree = ast.parse(text)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        later = isinstance(node, ast.FunctionDef) and at_runtime_of_import
        if typing_only or later:
            skipped.update(ast.walk(node))
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names.update(name if is_module(name) else node.module for name in whole)
    return frozenset(names)


def room_of(path: str) -> str:
    """The folder of MAY_IMPORT that a file or module path belongs to."""
    matches = [room for room in MAY_IMPORT if path == room or path.startswith(f"{room}/")]
    return max(matches, key=len)


def may_import(path: str, module: str) -> bool:
    """Whether a file may import a module of ours; both are written as paths."""
    allowed = MAY_IMPORT[room_of(path)]
    return room_of(module) in allowed or module in allowed


def is_module(name: str) -> bool:
    """Whether ``from package import name`` imports a module of ours."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def wrong_imports(root: Path) -> list[str]:
    """Imports of ours that go against the direction, and libraries outside their home."""
    found = []
    for path in sources(root):
        relative = path.relative_to(root).as_posix()
        for name in imports(path):
            top, _, rest = name.partition(".")
            if (
                top == "isoshare"
                and rest
                and not may_import(relative.removesuffix(".py"), rest.replace(".", "/"))
            ):
                found.append(f"{relative} imports {name}")
            if top in OURS:
                found.append(f"{relative} imports {name}, which is isoshare.{name}")
            homes = HOMES.get(top, {relative})
            if not any(relative == home or relative.startswith(f"{home}/") for home in homes):
                found.append(f"{relative} imports {name} outside its home")
    return found


def heavy_imports(root: Path) -> list[str]:
    """Files that must stay free of torch and ray, and are not when they are imported."""
    return [
        f"{relative} imports {name}"
        for path in sources(root)
        if (relative := path.relative_to(root).as_posix()).startswith(TORCH_FREE)
        for name in imports(path, at_runtime_of_import=True)
        if name.split(".")[0] in HEAVY
    ]


def test_imports_go_one_way() -> None:
    assert wrong_imports(ROOT) == []


def test_the_torch_free_files_are() -> None:
    assert heavy_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("space/plan.py", "import isoshare.search.engine"),
        ("storage/store.py", "from isoshare.evaluators.data import datasets"),
        ("evaluators/evaluator.py", "def f():\n    from isoshare.storage.store import Store"),
        ("space/plan.py", "import space.sites"),
        ("evaluators/data/splits.py", "from isoshare.evaluators import objectives"),
        ("search/config.py", "from isoshare.search.samplers import SAMPLERS"),
        ("search/pareto.py", "import isoshare.search.results.describe"),
        ("search/drivers/inline.py", "from isoshare.search.workflows import launch"),
        ("search/results/tables.py", "from isoshare.search.cli.terminal import fail"),
        ("search/workflows/launch.py", "from isoshare.search.service.errors import Problem"),
        ("search/service/rest/studies.py", "from isoshare.search.cli import options"),
        ("search/results/tables.py", "import torch"),
        ("search/pareto.py", "import optuna"),
        ("search/workflows/launch.py", "import ray"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, line: str) -> None:
    for path in sources():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    assert wrong_imports(tmp_path) == heavy_imports(tmp_path) == []
    (tmp_path / file).write_text(f"{(tmp_path / file).read_text()}\n{line}\n")
    assert wrong_imports(tmp_path) + heavy_imports(tmp_path)


def modules_after(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code`` has run in a fresh process."""
    script = f"{code}\nimport sys; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


LIGHT = [
    "isoshare",
    "run_search",
    *(
        f"isoshare.{name}"
        for name in (
            "space.plan",
            "space.search_space",
            "storage.store",
            "search.config",
            "search.options",
            "search.cli.main",
            "search.workflows.administration.manage",
            "search.results.optuna_file",
            "search.pareto",
            "search.results.study_results",
            "search.results.pictures.figures",
            "search.results.choose",
            "search.results.pictures.plan_picture",
            "search.results.reports.report",
            "search.results.tables",
            "search.service.server",
        )
    ),
]


def test_importing_leaves_torch_and_ray_out() -> None:
    """One after another in one process: what is told first has brought something heavy."""
    code = (
        "import importlib, sys\n"
        f"for name in {LIGHT!r}:\n"
        "    importlib.import_module(name)\n"
        f"    if {HEAVY!r} & set(sys.modules): print(name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


def test_every_public_name_is_there() -> None:
    for name in isoshare.__all__:
        assert getattr(isoshare, name).__name__ == name


def test_the_check_for_heavy_modules_can_fail() -> None:
    assert "torch" in modules_after("import isoshare.evaluators.training.trainer")


def test_nothing_but_the_listed_packages_lies_beside_them() -> None:
    packages = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/__init__.py")}
    assert packages == {"isoshare", *OURS}


def test_files_and_functions_stay_small() -> None:
    for path in sources():
        text = path.read_text()
        # Rows of published plans take their space.
        limit = 500 if path.name == "published.py" else 250
        assert len(text.splitlines()) <= limit, f"{path} is long: split it"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.body[0].lineno + 1
                assert length <= 45, f"{path}: {node.name} has {length} lines"


def test_every_dependency_says_why_it_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    named = [place for place, line in enumerate(lines) if line.startswith('    "') and ">=" in line]
    assert len(named) >= len(project["dependencies"])
    start = lines.index("dependencies = [")
    for place in range(start + 1, start + 1 + len(lines[start:])):
        if lines[place] == "]":
            break
        if lines[place].startswith('    "numpy'):
            continue
        if lines[place].startswith('    "'):
            assert lines[place - 1].startswith("    #"), f"no reason for {lines[place]}"
