"""The command line as a user meets it: real processes, real Ray, real digits.

What does not depend on a process of its own is asked in this one: importing torch takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isoshare.search.engine import ATTEMPTS
from isoshare.search.results.study_results import load_results
from isoshare.space.plan import SharingPlan
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store
from tests.fake_data import write_folder
from tests.fakes import Command
from tests.processes import PROGRAM, finished, ray_workers, wait_until

PATIENCE = 500
"""Seconds after which something hangs: starting Ray takes minutes on a very busy machine."""
COMMANDS = (
    "launch",
    "resume",
    "studies",
    "pareto",
    "export",
    "report",
    "solve",
    "train",
    "reproduce",
    "inspect",
)
QUICK = ("--epochs", "1", "--replicates", "2", "--workers", "2", "--study", "s")


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture
def here(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, in the folder of the search."""
    monkeypatch.chdir(folder)
    return command


NAMED = ("--backbone", "my_net:net")
"""The network of the user: only what the command line names is imported."""


@pytest.fixture(scope="module")
def searched(folder: Path) -> subprocess.CompletedProcess[str]:
    """One real search of a network from a file of the user's, on digits."""
    (folder / "my_net.py").write_text(
        "from isoshare.space.backbones.resnet_cifar import resnet_cifar\n"
        "def net(classes, in_channels):\n"
        "    return resnet_cifar(14, 2, classes, in_channels)\n"
    )
    (folder / "search.toml").write_text('backbone = "my_net:net"\ntrials = 40\n')
    return run("launch", "--config", "search.toml", "--trials", 4, *QUICK, cwd=folder)


def test_a_search_ends_with_a_front_a_picture_a_plan_and_what_to_do_next(
    searched: subprocess.CompletedProcess[str], folder: Path, here: Command
) -> None:
    assert searched.returncode == 0, searched.stderr
    assert searched.stderr == ""
    for text in ("trials 1/4", "trials 4/4", "hypervolume", "left", "accuracy", "share"):
        assert text in searched.stdout
    assert "ray" not in searched.stdout.lower().replace(str(folder).lower(), "")
    out = folder / "isoshare-out" / "s"
    assert "plotly" in (out / "front.html").read_text()
    SharingPlan.load(out / "plan.json")
    suggested = [line.split("run_search.py ")[1] for line in _suggestions(searched.stdout)]
    assert [line.split()[0] for line in suggested] == ["inspect", "export", "resume"]
    for line in suggested[:2]:
        assert here(*line.split())[0] == 0


def test_a_search_on_a_folder_of_images_names_the_broken_ones_and_gets_a_name_to_type(
    tmp_path: Path,
) -> None:
    images = write_folder(tmp_path / "my images")
    (images / "train" / "a" / "broken.png").write_text("no image")
    network = ("--backbone", "resnet_cifar", "--backbone-arg", "depth=8", "--batch-size", 4)
    data = ("--dataset", "folder:my images", "--subset", 20, "--resolution", 6, "--channels", 1)
    quick = ("--epochs", 1, "--replicates", 1, "--trials", 1, "--workers", 1)
    done = run("launch", *network, *data, *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    images_said, network_said = done.stderr.splitlines()
    broken = "warning: 1 of 28 images cannot be read and are left out: train/a/broken.png"
    assert images_said == broken
    assert network_said.startswith("warning: sharing can touch 6% of the parameters of ")
    assert f"of resnet_cifar on folder:{images}, 1 trial" in done.stdout
    plan = tmp_path / "isoshare-out" / "my-images-resnet_cifar-1" / "plan.json"
    provenance = json.loads(plan.read_text())["provenance"]
    assert provenance["config"]["subset"] == 20
    assert provenance["dataset"]["name"] == f"folder:{images}"


def _suggestions(output: str) -> list[str]:
    return [line for line in output.split("next\n")[1].splitlines() if line.strip()]


def test_the_database_holds_the_search(
    searched: subprocess.CompletedProcess[str], folder: Path
) -> None:
    results = load_results(Store(f"sqlite:///{folder / 'isoshare.db'}"), "s")
    assert results.study.config.backbone == "my_net:net"
    assert len(results.finished) == 4
    assert all(len(trial.samples("accuracy")) == 2 for trial in results.trials)
    for trial in results.finished:
        tested = len(trial.samples("accuracy", "test"))
        assert tested == (2 if trial in results.front.members else 0)


def test_json_can_be_piped(
    searched: subprocess.CompletedProcess[str], folder: Path, here: Command
) -> None:
    (study,) = json.loads(run("studies", "--json", cwd=folder).stdout)
    assert (study["study"], study["finished"], study["budget"]) == ("s", 4, 4)
    front = json.loads(here("pareto", "s", "--json")[1])
    assert (front["study"], front["trials"], front["failed"]) == ("s", 4, 0)
    assert here("export", "s", "--trial", front["front"][0]["trial"], "-o", "p.json")[0] == 0
    plan = json.loads(here("inspect", "p.json", "--json", *NAMED)[1])
    assert plan["parameters"]["shared"] == front["front"][0]["parameters"]
    assert plan["ratio"] == plan["parameters"]["shared"] / plan["parameters"]["unshared"]
    held = plan["device_bytes"]
    assert held["int8"]["shared"] < held["float32"]["shared"] <= held["float32"]["unshared"]
    assert f"{held['int8']['shared']:,}" in here("inspect", "p.json", *NAMED)[1]
    backbone = json.loads(here("inspect", "resnet_cifar", "--json")[1])
    assert backbone["parameters"] == 269_722
    assert [len(group["sites"]) for group in backbone["groups"]] == [6, 5, 5]
    assert backbone["plans"] == 203 * 52 * 52


def test_published_plans_are_listed(command: Command) -> None:
    rows = json.loads(command("inspect", "--published", "--json")[1])
    first = rows[0]
    assert (first["backbone"], first["classes"]) == ("convmixer", 10)
    assert (first["unshared"], first["shared"]) == (1_409_034, 107_274)
    assert "107,274" in command("inspect", "--published")[1]


def test_pictures_are_written_on_request(
    searched: subprocess.CompletedProcess[str], folder: Path, here: Command
) -> None:
    code, _, said = here("pareto", "s", "--html", "f.html", "--png", "f.png")
    assert code == 0, said
    assert (folder / "f.html").stat().st_size > 1_000_000
    assert (folder / "f.png").stat().st_size > 10_000


def test_resuming_a_finished_search_changes_nothing_a_bigger_budget_goes_on(
    searched: subprocess.CompletedProcess[str], folder: Path, here: Command
) -> None:
    database = f"sqlite:///{folder / 'isoshare.db'}"
    before = Store(database).trials("s")
    code, _, said = here("resume", "s")
    assert code == 2
    assert "if you trust it, name it too, with --backbone my_net:net" in said
    assert here("resume", "s", *NAMED)[0] == 0
    assert Store(database).trials("s") == before
    done = run("resume", "s", "--trials", 5, "--storage", database, *NAMED, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(Store(database).trials("s")) == 5
    code, _, said = here("resume", "s", "--trials", 2, *NAMED)
    assert code == 2
    assert "--trials must be at least 5, got 2" in said


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """A command that is left to run."""
    line, pipe = [sys.executable, str(PROGRAM), *map(str, arguments)], subprocess.PIPE
    return subprocess.Popen(line, cwd=cwd, stdout=pipe, stderr=pipe, text=True)


def test_a_search_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'isoshare.db'}")
    arguments: tuple[object, ...] = ("launch", "--trials", 20, *QUICK)
    stored: list[TrialRecord] = []
    for number in (signal.SIGINT, signal.SIGKILL):
        with start(*arguments, cwd=tmp_path) as driver:
            finished = _wait_for_trials(store, driver, 2)
            driver.send_signal(number)
            _, errors = driver.communicate(timeout=PATIENCE)
        if number != signal.SIGKILL:
            assert driver.returncode == 130
            assert "interrupted; go on with: " in errors
            assert errors.count("\n") == 1
        stored = [trial for trial in store.trials("s") if trial.number in finished]
        arguments = ("resume", "s")
    with start("resume", "s", cwd=tmp_path) as driver:  # a killed worker costs no trial and no line
        _wait_for_trials(store, driver, 1)
        wait_until(lambda: bool(ray_workers(driver.pid)), driver, PATIENCE)
        wait_until(lambda: not _at_the_last_attempt(store), driver, PATIENCE)
        before = {trial.number: trial.attempts for trial in store.trials("s")}
        os.kill(ray_workers(driver.pid)[0], signal.SIGKILL)
        output, errors = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, errors
    assert errors == ""
    assert "raylet" not in output
    trials = store.trials("s")
    assert len(trials) == 20
    assert {trial.state for trial in trials} == {"finished"}
    assert sum(trial.attempts > before.get(trial.number, 1) for trial in trials) == 1
    for known in stored:
        after = trials[known.number]
        assert after.plan == known.plan
        assert after.samples("accuracy") == known.samples("accuracy")
    assert all(len(trial.samples("accuracy")) == 2 for trial in trials)


def _at_the_last_attempt(store: Store) -> bool:
    """Whether a trial that runs would count as failed if its worker died once more."""
    running = (trial for trial in store.trials("s") if trial.state == "running")
    return any(trial.attempts >= ATTEMPTS for trial in running)


def _wait_for_trials(store: Store, driver: subprocess.Popen[str], more: int) -> set[int]:
    """The trials that have finished when there are so many more than now."""
    before = finished(store)
    wait_until(lambda: finished(store) >= before + more, driver, PATIENCE)
    return {trial.number for trial in store.trials("s") if trial.state == "finished"}


def plan_file(**changes: Any) -> str:
    site = changes.pop("site", "stages.0.0.conv1")
    document = {
        "schema": "isoshare.plan/1",
        "backbone": {"name": "resnet_cifar", "arguments": {}},
        "banks": [{"method": "kernel", "options": {}, "sites": [site, "stages.0.0.conv2"]}],
    }
    return json.dumps({**document, **changes})


WRONG = [
    (("launch", "--backbone", "resnet"), "unknown backbone 'resnet'"),
    (("launch", "--backbone", "no.such:net"), "cannot import backbone"),
    (("launch", "--backbone-arg", "depth=21"), "depth must be 6n + 2"),
    (("launch", "--backbone-arg", "classes=3"), "must return logits (batch, 10)"),
    (("launch", "--dataset", "cats"), "unknown data set 'cats'"),
    (("launch", "--dataset", "folder:/no/such"), "cannot read the image folder /no/such"),
    (("launch", "--resolution", "9"), "the images have 8x8 pixels, got 9"),
    (("launch", "--channels", "2"), "channels: input should be 1 or 3, got 2"),
    (("launch", "--time-steps", "5"), "evaluator 'train' does not use --time-steps, got 5"),
    (("launch", "--evaluator", "mine:measure", "--epochs", "3"), "does not use --epochs"),
    (("launch", "--subset", "5"), "--subset must lie between 10, one image a class, and the 1,437"),
    (("launch", "--methods", "magic"), "unknown method 'magic'"),
    (("launch", "--sampler", "oracle"), "unknown sampler 'oracle'"),
    (("launch", "--trials", "-3"), "trials: input should be greater than or equal to 1, got -3"),
    (("launch", "--trials", "many"), "parse string as an integer, got 'many'"),
    (("launch", "--max-parameters", "10"), "no plan was found that has at most 10 parameters"),
    (("launch", "--config", "none.toml"), "cannot read none.toml"),
    (("launch", "--study", "taken"), "study 'taken' exists already"),
    (("launch", "--storage", "sqlite:////no/such/dir/x.db"), "cannot use the database"),
    (("launch", "--colour", "red"), "No such option"),
    (("launch", "--ray-address", "127.0.0.1:1"), "cannot join the Ray cluster"),
    (("resume", "nothing"), "unknown study 'nothing': the database has taken"),
    (("resume", "taken", "--data-folder", "x"), "data set 'digits' is bundled"),
    (("pareto", "nothing"), "unknown study 'nothing'"),
    (("pareto", "taken", "--html", "/no/such/dir/f.html"), "cannot write /no/such/dir/f.html"),
    (("export", "nothing", "-o", "p.json"), "unknown study 'nothing'"),
    (("export", "taken", "-o", "p.json"), "no trial has finished yet"),
    (("export", "taken", "--trial", "3", "-o", "p.json"), "trial 3 is not among"),
    (("export", "taken", "--best", "worst", "-o", "p.json"), "'worst' is not one of"),
    (("report", "nothing", "-o", "r.html"), "unknown study 'nothing'"),
    (("report", "taken", "-o", "r.html"), "no trial has finished yet"),
    (("reproduce", "none.json"), "cannot read the plan file none.json"),
    (("reproduce", "text.json"), "must be JSON"),
    (("studies", "--storage", "nonsense"), "not a database URL"),
    (("inspect", "none.json"), "cannot read the plan file none.json"),
    (("inspect", "text.json"), "must be JSON"),
    (("inspect", "fields.json"), "banks: field required"),
    (("inspect", "site.json"), "no site 'stages.9'"),
    (("inspect",), "either a backbone, a plan file, or --published"),
    (("nonsense",), "No such command 'nonsense'"),
]


@pytest.fixture(scope="module")
def wrong_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty study "taken" and plan files that are wrong in different ways."""
    from isoshare.search.config import make_config
    from tests.fakes import create_named_study, space_of

    folder = tmp_path_factory.mktemp("wrong")
    store = Store(f"sqlite:///{folder / 'isoshare.db'}")
    create_named_study(store, "taken", space_of(3), make_config({}))
    store.close()
    (folder / "text.json").write_text("hello")
    (folder / "fields.json").write_text('{"schema": "isoshare.plan/1"}')
    (folder / "site.json").write_text(plan_file(site="stages.9"))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files but SQLite's own; the write-ahead log is folded into the database first."""
    import sqlite3

    with sqlite3.connect(folder / "isoshare.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return {p.name: p.read_bytes() for p in folder.iterdir() if "-" not in p.name}


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_wrong_requests_get_one_sentence_and_change_nothing(
    command: Command,
    wrong_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(wrong_folder)
    before = contents(wrong_folder)
    code, out, said = command(*arguments)
    assert code == 2
    assert not out or out.startswith("data digits: "), "what was looked at may be told before"
    assert says in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert contents(wrong_folder) == before


@pytest.mark.parametrize("place", [1, -3], ids=lambda place: " ".join(WRONG[place][0]))
def test_a_process_of_its_own_says_the_same(wrong_folder: Path, place: int) -> None:
    """Nothing of torch or Ray gets between, and no traceback."""
    arguments, says = WRONG[place]
    done = run(*arguments, cwd=wrong_folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help_answers_at_once_without_torch_or_ray(command: tuple[str, ...]) -> None:
    code = (
        "import resource, sys; sys.argv = ['run_search.py', *sys.argv[1:], '--help']\n"
        "import run_search\n"
        "try: run_search.main()\n"
        "except SystemExit: pass\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'torch', 'ray', 'optuna'} & set(sys.modules)\n"
        "print(usage.ru_utime + usage.ru_stime, heavy, file=sys.stderr)"
    )
    arguments = [sys.executable, "-c", code, *command]

    def ask() -> tuple[str, float]:
        done = subprocess.run(
            arguments, cwd=PROGRAM.parent, capture_output=True, text=True, check=True
        )
        seconds, heavy = done.stderr.split(maxsplit=1)
        assert heavy.strip() == "set()"
        return done.stdout, float(seconds)

    text, seconds = ask()
    assert seconds < 0.5 or min(ask()[1] for _ in range(12)) < 0.5  # a busy machine is slower
    if command:
        assert "Example: " in text
    else:
        assert all(command in text for command in COMMANDS)
