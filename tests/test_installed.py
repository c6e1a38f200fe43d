"""What is installed: everything that runs is in the wheel, and the command works anywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from isoshare.space.plan import PlanFile
from isoshare.storage import schema
from isoshare.storage.opening.database import make_engine, parse_url
from tests.test_migrations import migrate_to

ROOT = Path(__file__).parent.parent
PACKAGES = ("space", "evaluators", "storage", "search")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git knows, because building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in tracked:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)  # isoshare/ holds links
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(folder), str(source)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path) -> Path:
    """The command, in an environment with the wheel and, of everything else, what is here."""
    place = wheel.parent / "environment"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    install = [*pip, "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, env=environment())
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin" / "isoshare"


def test_the_wheel_holds_all_modules_and_the_files_they_read(wheel: Path) -> None:
    rooms = {
        f"isoshare/{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    door = {"isoshare/__init__.py", "isoshare/__main__.py", "isoshare/py.typed", "run_search.py"}
    wanted = rooms | door
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted


def environment() -> dict[str, str]:
    """Without what could show a process the files of this checkout."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def isoshare(program: Path, *arguments: str, cwd: Path, code: int = 0) -> str:
    """What a command prints that ends with this code."""
    done = subprocess.run(
        [str(program), *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_search_is_made_and_taken_home_in_any_folder(program: Path, tmp_path: Path) -> None:
    code = "import isoshare, run_search; print(isoshare.__file__, run_search.__file__)"
    python = program.parent / "python"
    used = subprocess.check_output([python, "-c", code], cwd=tmp_path, env=environment(), text=True)
    assert used.count(str(program.parent.parent)) == 2  # not the files of this checkout
    table = ("--driver", "simulate", "--table", "sharebench-digits", "--trials", "4")
    said = isoshare(program, "launch", *table, "--study", "s", cwd=tmp_path)
    assert "isoshare inspect isoshare-out/s/plan.json" in said
    assert "run_search" not in said
    isoshare(program, "export", "s", "-o", "plan.json", cwd=tmp_path)
    refused = isoshare(program, "export", "s", "--trial", "9", "-o", "x", cwd=tmp_path, code=2)
    assert "'isoshare pareto STUDY' lists" in refused
    isoshare(program, "report", "s", "-o", "report.html", cwd=tmp_path)
    assert PlanFile.load(tmp_path / "plan.json").provenance["study"] == "s"
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_it_finds_a_network_in_the_folder_where_it_is_called(program: Path, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(
        "from isoshare.space.backbones.resnet_cifar import resnet_cifar\n"
        "def net(classes, in_channels):\n"
        "    return resnet_cifar(8, 2, classes, in_channels)\n"
    )
    own = ("my_net:net", "--backbone-arg", "classes=10", "--backbone-arg", "in_channels=1")
    found = json.loads(isoshare(program, "inspect", *own, "--json", cwd=tmp_path))
    assert found["backbone"] == "my_net:net"


def test_it_calls_itself_as_it_was_called(program: Path, tmp_path: Path) -> None:
    assert "Example: isoshare export digits" in isoshare(program, "export", "--help", cwd=tmp_path)
    assert "'isoshare launch' makes one" in isoshare(program, "studies", cwd=tmp_path)
    python, module = program.with_name("python"), ("-m", "isoshare")
    told = isoshare(python, *module, "studies", cwd=tmp_path)
    assert "'python -m isoshare launch' makes one" in told


def test_it_upgrades_an_old_database(program: Path, tmp_path: Path) -> None:
    file = tmp_path / "isoshare.db"
    file.touch()
    engine = make_engine(parse_url(f"sqlite:///{file}"))
    migrate_to(engine, schema.FIRST)
    engine.dispose()
    assert schema.NEWEST in isoshare(program, "upgrade", cwd=tmp_path)


def test_it_serves_its_pages(program: Path, tmp_path: Path) -> None:
    serving = subprocess.Popen(
        [str(program), "serve", "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert serving.stdout is not None
        (address,) = re.findall(r"http://\S+/", serving.stdout.readline())
        for path in ("", "api/v1/health", "api/v1/openapi.json", "static/app.js", "plotly.js"):
            with urlopen(f"{address}{path}", timeout=60) as answer:
                assert (answer.status, bool(answer.read())) == (200, True), path
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=60) == 0
    finally:
        serving.kill()
        serving.communicate()


OWN = {
    "space.py": (
        "from isoshare.space.backbones.resnet_cifar import resnet_cifar\n"
        "from evaluators import WIDTH\nfrom search import DEPTH\nfrom storage.kept import NAME\n"
        "def net(classes, in_channels):\n"
        "    return resnet_cifar(DEPTH, WIDTH, classes, in_channels)\n"
    ),
    "search.py": "DEPTH = 8\n",
    "storage/__init__.py": "",
    "storage/kept.py": "NAME = 'mine'\n",
    "evaluators/__init__.py": "WIDTH = 2\n",
}
"""A working folder whose modules have the names of our rooms."""
CELL = """
import space
from isoshare import SharingPlan, apply_plan, count_parameters
network = apply_plan(space.net(10, 1), SharingPlan.load("plan.json"))
print(count_parameters(network), space.NAME)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_modules_of_the_users_own_may_have_the_names_of_ours(program: Path, own: Path) -> None:
    named = ("--backbone", "space:net")
    shape = ("--backbone-arg", "classes=10", "--backbone-arg", "in_channels=1")
    seen = json.loads(isoshare(program, "inspect", "space:net", *shape, "--json", cwd=own))
    assert seen["backbone"] == "space:net"
    quick = ("--trials", "2", "--epochs", "1", "--replicates", "1", "--subset", "100")
    isoshare(program, "launch", *named, *quick, "--workers", "1", "--study", "s", cwd=own)
    isoshare(program, "export", "s", "-o", "plan.json", cwd=own)
    found = json.loads(isoshare(program, "inspect", "plan.json", *named, "--json", cwd=own))
    cell = [str(program.parent / "python"), "-c", CELL]
    said = subprocess.check_output(cell, cwd=own, env=environment(), text=True)
    assert said.split() == [str(found["parameters"]["shared"]), "mine"]


def test_from_a_checkout_they_may_too(own: Path) -> None:
    shape = ("--backbone-arg", "classes=10", "--backbone-arg", "in_channels=1")
    command = [
        sys.executable,
        str(ROOT / "run_search.py"),
        "inspect",
        "space:net",
        *shape,
        "--json",
    ]
    seen = json.loads(subprocess.check_output(command, cwd=own, env=environment()))
    assert seen["backbone"] == "space:net"
