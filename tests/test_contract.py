"""However a search is run, it leaves the same in its database.

One scenario runs in this process, by hand, on a Ray cluster that is joined, and from the command
line; everything that is stored is compared, except times, the names that the ways give to the same
code, and the options that only say where and how long a run goes on.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from torch import nn

import isoshare
from isoshare.evaluators.own_code.trial import Trial
from isoshare.evaluators.user_function import in_user_words
from isoshare.search.study import Study
from isoshare.storage.tables import Base
from tests.fakes import Command, ThreeSites

ROOT = Path(__file__).parent.parent
RUNNING = {"trials", "workers", "ray_address", "evaluator", "backbone", "backbone_arg", "out"}
"""Options that say how a search is run, or name the code that the ways name differently."""
OF_PYTHON = {"backbone", "call", "weights", "seen"}
"""What is recorded of a backbone that has no name, and of the last call."""
PASSING = {"id", "study_id", "trial_id", "created", "stored", "seconds"}
EPOCHS = 4


def graded(network: nn.Module, trial: Trial) -> float:
    """A value that the plan and the seed decide; some plans cannot be measured."""
    assert isinstance(network, nn.Module)
    saved = sum(len(bank.sites) - 1 for bank in trial.plan.banks)
    if len(trial.plan.banks) > 1:
        raise ValueError(f"two banks\nare too many, saved {saved}")
    for epoch in range(1, EPOCHS + 1):
        value = (0.9 - 0.03 * saved + 0.001 * trial.seed) * epoch / EPOCHS
        trial.report({"miou": value}, epoch)
        if trial.should_stop():
            break
    return value


@dataclass(frozen=True)
class Scenario:
    """A search. options: as create_study has them."""

    trials: int
    options: dict[str, Any]

    @property
    def words(self) -> list[str]:
        """The options on a command line."""
        return [
            word
            for name, value in self.options.items()
            for word in (
                f"--{name.replace('_', '-')}",
                ",".join(map(str, value)) if isinstance(value, tuple) else str(value),
            )
        ]


@pytest.fixture(scope="module")
def ray_head() -> Iterator[str]:
    """The address of a Ray cluster that ``ray start`` has started on this machine."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # the path of a socket has to be short
    address, log = folder / "ray_current_cluster", folder / "log"
    start = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=0"]
    options = ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    import isoshare.search.drivers.ray_settings  # noqa: F401  with tokens, unless Ray is there already

    safe = {**os.environ, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")}
    token = Path.home() / ".ray" / "auth_token"
    if not token.exists():
        token.parent.mkdir(exist_ok=True)
        token.write_text(secrets.token_hex(32))
    with log.open("w") as out:
        head = subprocess.Popen(
            [*start, *options, f"--temp-dir={folder}"], stdout=out, stderr=out, env=safe
        )
    try:
        while not address.exists():
            assert head.poll() is None, log.read_text()
            time.sleep(0.1)
        yield address.read_text()
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Databases by name."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for workers: pytest alone knows the way
    return lambda name: f"sqlite:///{tmp_path / name}.db"


def stored(url: str) -> dict[str, Any]:
    """Every table of a database with one study, but for times, ids and what RUNNING says."""
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in Base.metadata.sorted_tables
        }
    engine.dispose()
    numbers = {row["id"]: row["number"] for row in tables["trial"]}
    for row in tables["measurement"]:
        row["trial"] = numbers[row["trial_id"]]
        del row["conditions"]["evaluator"]
    (study,) = tables["study"]
    study["config"] = {key: study["config"][key] for key in {*study["config"]} - RUNNING}
    study["context"] = {key: study["context"][key] for key in {*study["context"]} - OF_PYTHON}
    return {
        name: sorted(
            ({key: row[key] for key in row if key not in PASSING} for row in rows), key=str
        )
        for name, rows in tables.items()
    }


def new_study(scenario: Scenario, url: str) -> Study:
    """One that Python makes."""
    objectives = {"miou": "maximize", "parameters": "minimize"}
    options = {"methods": ("kernel",), **scenario.options}
    return isoshare.create_study(ThreeSites(5), "s", storage=url, objectives=objectives, **options)


def run_by_hand(scenario: Scenario, url: str) -> None:
    """Ask, measure and tell."""
    study = new_study(scenario, url)
    while len(study.trials) < scenario.trials or study.trials[-1].state == "running":
        trial = study.ask()
        try:
            value = graded(trial.network(), trial)
        except ValueError as error:
            study.tell(trial, in_user_words(error, graded), state="failed")
        else:
            study.tell(trial, value)


def test_by_hand_and_from_the_command_line(
    urls: Callable[[str], str], command: Command, ray_head: str
) -> None:
    """One worker: the order of results decides what is proposed, and what is stopped."""
    options = {"rungs": (1, 3), "max_parameters": 150, "seed": 3}
    scenario = Scenario(10, options)
    new_study(scenario, urls("here")).optimize(graded, n_trials=scenario.trials)
    expected = stored(urls("here"))
    states = {row["state"] for row in expected["trial"]}
    assert states == {"finished", "failed", "stopped"}

    run_by_hand(scenario, urls("by hand"))
    assert stored(urls("by hand")) == expected

    where = ("--storage", urls("typed"), "--trials", scenario.trials, "--workers", 1)
    network = ("--backbone", "tests.fakes:ThreeSites")
    code, _, error = command(
        *("launch", "--study", "s", *where, *network, "--backbone-arg", "sites=5"),
        *("--evaluator", "tests.test_contract:graded", "--objectives", "miou:max,parameters"),
        *("--methods", "kernel", *scenario.words, "--ray-address", ray_head),
    )
    assert code == 0, error
    assert stored(urls("typed")) == expected
    code, _, error = command("resume", "s", *where, *network)
    assert (code, "if you trust it, name it too" in error) == (2, True)


def test_side_by_side_on_ray(urls: Callable[[str], str], ray_head: str) -> None:
    """Two workers: what random search proposes does not depend on who is ready first."""
    scenario = Scenario(8, {"sampler": "random"})
    new_study(scenario, urls("here")).optimize(graded, n_trials=scenario.trials)
    there = new_study(scenario, urls("there"))
    there.optimize(graded, n_trials=scenario.trials, n_jobs=2, ray_address=ray_head)
    assert stored(urls("there")) == stored(urls("here"))
    assert {trial.state for trial in there.trials} == {"finished", "failed"}
