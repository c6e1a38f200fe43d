"""What is installed: everything that runs is in the wheel, and the command works anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("space", "evaluators", "storage", "search")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel, as pip would lay them out."""
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
    for name in tracked:  # a copy: building leaves folders behind
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(folder), str(source)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_all_modules_and_the_files_they_read(unpacked: Path) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {"run_search.py"}
    held = {
        path.relative_to(unpacked).as_posix()
        for path in unpacked.rglob("*")
        if path.is_file() and ".dist-info" not in path.as_posix()
    }
    assert held == wanted
    (entry,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "isoshare = run_search:main" in entry.read_text()


def isoshare(unpacked: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as pip would install it: a script that calls its entry point."""
    script = unpacked / "isoshare"
    script.write_text("import sys\nfrom run_search import main\nsys.exit(main())\n")
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_works_from_any_folder(unpacked: Path, small_search: Path) -> None:
    place = small_search / "elsewhere"
    place.mkdir()
    (place / "my_net.py").write_text(
        "from space.backbones.resnet_cifar import resnet_cifar\n"
        "def net(classes, in_channels):\n"
        "    return resnet_cifar(8, 2, classes, in_channels)\n"
    )
    done = isoshare(unpacked, "studies", "--storage", "sqlite:///../isoshare.db", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "resnet_cifar" in done.stdout
    own = ("my_net:net", "--backbone-arg", "classes=10", "--backbone-arg", "in_channels=1")
    done = isoshare(unpacked, "inspect", *own, "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backbone"] == "my_net:net"


def test_it_calls_itself_as_it_was_called(
    unpacked: Path, small_search: Path, tmp_path: Path
) -> None:
    database = f"sqlite:///{small_search / 'isoshare.db'}"
    for arguments, says in (
        (("export", "--help"), "Example: isoshare export digits"),
        (("studies",), "'isoshare launch' makes one"),
        (("launch", "--study", "s", "--storage", database), "with 'isoshare resume s'"),
    ):
        done = isoshare(unpacked, *arguments, cwd=tmp_path)
        assert says in done.stdout + done.stderr
        assert "run_search" not in done.stdout + done.stderr
