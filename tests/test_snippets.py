"""Everything that the documents tell a user to type does what they say, page by page.

A page is typed from top to bottom in a folder of its own: Python runs in one session, a block that
begins with ``# NAME.py`` or ``# NAME.toml`` becomes that file, commands run in this process.
Searches and trainings are made small. What cannot run here (servers, clusters, installers) is
checked against what is there.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml  # type: ignore[import-untyped]  # which Ray brings

from isoshare.search.cli import main as cli
from isoshare.search.cli.commands import searches
from isoshare.search.config import load_config
from isoshare.search.drivers.heartbeat import heartbeat
from isoshare.search.drivers.inline import run_inline
from isoshare.search.options.words import read_words
from isoshare.search.service.app import make_app
from isoshare.search.workflows.launch import start
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.storage.store import Store
from tests.fake_data import write_classes
from tests.service_fakes import settings_of

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = ("benchmarks/", "examples/")
PROGRAMS = (["isoshare"], ["python", "run_search.py"])
SMALL: dict[str, Any] = {"trials": 3, "epochs": 1, "replicates": 1}
"""What a search is cut down to."""
ONLY_WHERE_GIVEN = {"subset": 20, "pretrain_epochs": 1, "time_steps": 2}
LAST = {
    "launch": ("--trials", "20"),
    "train": ("--epochs", "1"),
    "export": ("--epochs", "1"),
}
"""What is typed behind commands that run as they are: the last one of an option counts."""
ENDLESS = ("serve",)
"""Commands that end when they are stopped: of them the options are checked."""
ELSEWHERE = (
    *(".", "cd", "chmod", "export", "mkdir", "python3", "ray", "scp", "source", "ssh"),
    *("docker", "kubectl"),
)
"""Other programs, which nothing here depends on."""
OWN = ("my_net", "my_curves", "my_package", "my_package.my_module")
MY_MODULE = """
from isoshare.space.backbones.resnet_cifar import resnet_cifar

def my_network(classes, in_channels):
    return resnet_cifar(8, 2, classes, in_channels)
"""

Command = Callable[..., tuple[int, str, str]]


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def lines(text: str) -> Iterator[list[str]]:
    """The commands of a shell block in words, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first search of a user, cut down: the database that most pages begin with."""
    folder = tmp_path_factory.mktemp("first-search")
    launch([], Store(f"sqlite:///{folder / 'isoshare.db'}"))
    return folder / "isoshare.db"


@pytest.fixture
def folder(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page is typed: beside the first search and some pictures. Modules of the user's own
    are imported from there, whatever other tests have called theirs.
    """
    for name in OWN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    shutil.copy(searched, tmp_path)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_module.py").write_text(MY_MODULE)
    write_classes(tmp_path / "images" / "train", 12, side=20)
    write_classes(tmp_path / "images" / "test", 4, side=20, first=500)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("ISOSHARE_STORAGE", raising=False)
    yield tmp_path
    for name in OWN:
        sys.modules.pop(name, None)


def parsed(command: str, words: list[str]) -> dict[str, Any]:
    """The options of a command as they were given; what it does not know is an error."""
    program: Any = typer.main.get_command(cli.app)
    given = program.commands[command].make_context(command, list(words)).params
    return {name: value for name, value in given.items() if value is not None}


def launch(words: list[str], store: Store | None = None) -> None:
    """A search, cut down, one training after another; of those that need what is not here, such as
    images or machines, the options are checked.
    """
    given = parsed("launch", words)
    file = given.pop("config", None)
    for one in ("dry_run", "as_json"):  # of the command, and no options of a search
        given.pop(one, None)
    is_here = given.get("dataset", "digits").split(":")[0] in ("digits", "folder")
    if not is_here or "ray_address" in given:
        load_config(file, read_words(given))
        return
    small = SMALL | {name: less for name, less in ONLY_WHERE_GIVEN.items() if name in given}
    prepared, own = searches.checked_launch(file, {**given, **small, "workers": 1})
    run(prepared, store or own)


def resume(words: list[str]) -> None:
    """One more trial than the search has."""
    given = parsed("resume", words)
    more = {"trials": SMALL["trials"] + 1} if "trials" in given else {}
    name, storage = given.pop("name"), given.pop("storage", None)
    run(*searches.checked_resume(name, storage, {**given, **more}))


def run(prepared: Prepared, store: Store) -> None:
    engine = start(prepared, store)
    with heartbeat(store, prepared.study.name):
        run_inline(engine, prepared.evaluator)
    store.close()


def typed(words: list[str], command: Command) -> None:
    """One command of ours."""
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ENDLESS or any(word.startswith("postgresql") for word in rest):
        parsed(name, rest)
    elif name == "launch" and "simulate" not in rest:
        launch(rest)
    elif name == "resume":
        resume(rest)
    else:
        code, _, err = command(*words, *LAST.get(name, ()))
        assert code == 0, f"{shlex.join(words)}: {err}"


def looked_at(words: list[str]) -> None:
    """What is not run: it must at least be there."""
    line = shlex.join(words)
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), line
    elif words[0] == "curl":
        (address,) = (urlsplit(word).path for word in words if word.startswith("http://"))
        routes = make_app(settings_of(Path())).openapi()["paths"]
        patterns = [re.sub(r"\{\w+\}", "[^/]+", route) for route in routes]
        assert any(re.fullmatch(pattern, address) for pattern in patterns), line
    elif words[0] == "pip":
        extras = re.findall(r"isoshare\[(\w+)\]", line)
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert set(extras) <= set(known["optional-dependencies"]), line
    elif words[0] == "sbatch":
        place = next(place for place, word in enumerate(words) if word.endswith(".sbatch"))
        assert (ROOT / words[place]).is_file(), line
        parsed("launch", words[place + 1 :])
    elif words[:2] != ["python", "-c"]:
        script = next((word for word in words if word.startswith(SCRIPTS)), None)
        assert script is None or (ROOT / script).is_file(), line
        assert script or words[0] in ELSEWHERE, f"nobody looks at: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_to_type_works(page: Path, folder: Path, command: Command) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    for language, text in blocks(page):
        file = re.match(r"# (\w+\.(py|toml))\b", text)
        if file:
            (folder / file[1]).write_text(text)
        if language == "toml":
            load_config(folder / file[1], {}) if file else tomllib.loads(text)
        elif language == "python" and not file:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(text, page.name, "exec"), session)
            for expected in re.findall(r"print\(.*#((?: \d+)+)$", text, flags=re.MULTILINE):
                assert expected.strip() in said.getvalue()
        elif language == "json":
            json.loads(text)
        elif language == "sh":
            for words in lines(text):
                ours = next((p for p in PROGRAMS if words[: len(p)] == p), None)
                typed(words[len(ours) :], command) if ours else looked_at(words)


def test_the_slurm_script_is_one() -> None:
    script = str(ROOT / "docs/cluster/isoshare.sbatch")
    subprocess.run(["bash", "-n", script], check=True)


def test_the_manifest_starts_commands_that_exist() -> None:
    job = yaml.safe_load((ROOT / "docs/cluster/kuberay.yaml").read_text())
    assert (job["kind"], job["spec"]["rayClusterSpec"]["rayVersion"]) == ("RayJob", version("ray"))
    (*shell, commands) = shlex.split(job["spec"]["entrypoint"])
    assert shell == ["sh", "-c"]
    for command in commands.split("||"):
        program, name, *words = shlex.split(command)
        assert program == "isoshare"
        assert parsed(name, words)["ray_address"] == "auto"
