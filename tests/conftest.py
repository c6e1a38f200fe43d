"""Fixtures that tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isoshare.evaluators.training.batches import use_threads
from isoshare.search.cli import main as cli
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.results.study_results import Results, load_results
from isoshare.search.workflows.launch import prepare, start
from isoshare.storage.store import Store
from tests.fakes import Command, FakeEvaluator, MakeEngine, create_study, engine_for, space_of
from tests.postgresql import Server, running_server

# Ray lowers its workers' priority: beside other work they would not get on for minutes.
os.environ.update(RAY_worker_niceness="0")
PERSONAL = ("ISOSHARE_", "XDG_")
"""Variables of the environment that say where a person keeps things."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With ISOSHARE_REQUIRE_ALL=1 a skipped test is a failure: nothing is skipped silently."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter is not None and reporter.stats.get("skipped")
    if os.environ.get("ISOSHARE_REQUIRE_ALL") == "1" and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="session")
def threads() -> None:
    """Tiny networks gain nothing from more, and on a busy machine threads wait for each other."""
    use_threads(1)


@pytest.fixture(autouse=True, scope="session")
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that one starts, reads or writes what belongs to the person who runs
    the tests: database, output folder, cache, home folder, settings in the environment.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PERSONAL)]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.chdir(tmp_path_factory.mktemp("folder"))
        yield


@pytest.fixture(autouse=True)
def own_folder(
    nobodys_home: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test begins in an empty folder with an empty cache: it finds nothing of another one."""
    monkeypatch.setenv("ISOSHARE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A real server, started when the first test needs it."""
    with running_server() as server:
        yield server


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: SQLite, unless the test is parametrized over DATABASES."""
    if getattr(request, "param", "sqlite") == "postgresql":
        server: Server = request.getfixturevalue("postgresql")
        return server.new_database()
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def small_search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which study "s" is a real search, on digits, without Ray."""
    folder = tmp_path_factory.mktemp("small-search")
    store = Store(f"sqlite:///{folder / 'isoshare.db'}")
    small = {"backbone": "resnet_cifar", "backbone_arg": {"depth": 8, "width": 2}, "batch_size": 32}
    config = make_config({**small, "study": "s", "trials": 4, "epochs": 1, "workers": 1})
    prepared = prepare(config, store)
    run_inline(start(prepared, store), prepared.evaluator)
    store.close()
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one command in this process: exit code, what it printed, what it said on stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["isoshare", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def make_engine(store: Store) -> MakeEngine:
    """An engine on the study "study" of the store: created on the first call, resumed later."""

    def make(sites: int = 5, **options: Any) -> Engine:
        space = space_of(sites)
        config = make_config({"trials": 12, "replicates": 2, "workers": 1, **options})
        known = [summary.name for summary in store.studies()]
        study = store.study("study") if known else create_study(store, space, config)
        return engine_for(store, study, config, space)

    return make


@pytest.fixture
def results(make_engine: MakeEngine, store: Store) -> Results:
    """What a finished search of five sites has found."""
    run_inline(make_engine(), FakeEvaluator())
    return load_results(store, "study")
