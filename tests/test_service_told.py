"""What happened to a search is told: who stopped it, why it ended, and what it printed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.search.drivers import interrupt
from isoshare.search.service import audit
from isoshare.search.service.runs.driver_files import Driver, DriverFiles, option_of
from isoshare.search.service.settings import Settings, read_tokens
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store
from tests.fakes import Command
from tests.service_fakes import TOKENS, client_of, half_searched, searched, settings_of

V1 = "/api/v1"
GONE = Driver("half", 2**22 - 1, 1, "2030-01-01T00:00:00+00:00")
"""A driver that has ended."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_of(tmp_path)
    half_searched(made)
    return made


@pytest.fixture
def files(settings: Settings) -> DriverFiles:
    found = DriverFiles(settings.folder, settings.storage)
    found.folder.mkdir(exist_ok=True)
    return found


def told(settings: Settings, name: str) -> tuple[str, str]:
    """State and message of a study, as a service says them that has just been started."""
    with client_of(settings) as client:
        found = client.get(f"{V1}/studies/{name}").json()
        assert client.get(f"/studies/{name}").status_code == 200
    return found["state"], found["message"]


@pytest.mark.parametrize(
    ("driver", "state", "says"),
    [
        (replace(GONE, stopping=True, stopped_by="ada"), "interrupted", "stopped by ada"),
        (replace(GONE, stopping=True), "interrupted", "stopped by you"),
        (replace(GONE, exit_code=-9), "interrupted", "killed by SIGKILL, often because"),
        (replace(GONE, exit_code=3), "interrupted", "exit code 3"),
        (GONE, "interrupted", "killed, or the machine went down"),
    ],
)
def test_how_a_driver_ended_is_told(
    settings: Settings, files: DriverFiles, driver: Driver, state: str, says: str
) -> None:
    files.write(driver)
    found = told(settings, "half")
    assert found[0] == state
    assert says in found[1]


def test_the_log_of_a_driver_that_failed_is_shown_with_the_option(
    settings: Settings, files: DriverFiles
) -> None:
    files.write(replace(GONE, exit_code=2))
    said = [*(f"line {number}" for number in range(300)), "error: --epochs must be at least 4"]
    files.log("half").write_text("\n".join(said))
    with client_of(settings) as client:
        log = client.get(f"{V1}/studies/half/log", params={"lines": 5}).json()
        assert log == {"study": "half", "lines": said[-5:], "option": "epochs"}
        assert client.get(f"{V1}/studies/half").json()["option"] == "epochs"
        page = client.get("/studies/half").text
        assert "line 299" in page
        assert "/launch?like=half#epochs" in page
        form = client.get("/launch?like=half").text
        assert 'id="trials" name="trials" type="number"' in form
        assert 'value="12"' in form  # as the study was launched with
        assert client.get(f"{V1}/studies/none/log").status_code == 404
        assert client.get("/launch?like=none").status_code == 404


@pytest.mark.parametrize(
    ("complaint", "option"),
    [
        ("--backbone-arg must look like depth=20", "backbone_arg"),
        ("epochs must be at least 1", "epochs"),
        ("the database failed: disk full; check --storage", "storage"),
        ("all trials failed", None),
        ("", None),
    ],
)
def test_the_option_that_a_complaint_is_about(complaint: str, option: str | None) -> None:
    assert option_of(complaint) == option


def test_a_search_that_is_stopped_while_it_is_prepared_begins_again(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, searches=1)
    asked = {"study": "early", "trials": 3, "epochs": 1, "backbone": "resnet_cifar"}
    with client_of(settings) as client:
        assert client.post(f"{V1}/studies", json=asked).status_code == 201
        assert client.post(f"{V1}/studies/early/stop").status_code == 202
        wait_until(lambda: client.get(f"{V1}/studies/early").json()["state"] == "interrupted")
        found = client.get(f"{V1}/studies/early").json()
        assert found["stopped_by"] == "you"
        assert "Resume" in client.get("/studies/early").text
        assert 'value="3"' in client.get("/launch?like=early").text
        again = client.post(f"{V1}/studies/early/resume", json={}).json()
        assert again["state"] in ("starting", "running")
        client.post(f"{V1}/studies/early/stop")
        wait_until(lambda: client.get(f"{V1}/studies/early").json()["state"] == "interrupted")
        deeds = [deed["did"] for deed in client.get(f"{V1}/audit").json()["items"]]
        assert deeds == ["stopped", "resumed", "stopped", "launched"]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_ctrl_c_in_pretraining_leaves_a_study_that_can_go_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    storage = f"sqlite:///{tmp_path / 'i.db'}"
    small = ["--backbone", "resnet_cifar", "--backbone-arg", "depth=8", "--backbone-arg", "width=2"]
    line = [*small, "--evaluator", "inherit", "--epochs", 0, "--trials", 2, "--study", "early"]
    monkeypatch.setattr(InheritingEvaluator, "prepare", interrupted)
    code, _, said = command("launch", *line, "--storage", storage)
    assert code == 130
    last = said.splitlines()[-1]  # behind the warning that so small a network shares little
    assert "interrupted before the first trial; go on with: " in last
    assert "resume early" in last
    assert said.count("\n") == 2
    code, _, said = command("resume", "early", "--storage", storage)  # it is found, and trained
    assert (code, "before the first trial" in said) == (130, True)
    with Store(storage) as store:
        assert store.trials("early") == []


def test_tokens_have_names_and_deeds_are_noted_under_them(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(
        f"bob read {TOKENS[0]}\nada launch {TOKENS[1]}\nlaunch a-token-without-a-name\n"
    )
    settings = settings_of(tmp_path, tokens=read_tokens(file), host="0.0.0.0", searches=0)
    searched(settings, trials=2)
    ada = {"Authorization": f"Bearer {TOKENS[1]}"}
    with client_of(settings) as client:
        assert client.delete(f"{V1}/studies/study", headers=ada).status_code == 204
        page = client.get(f"{V1}/audit", headers={"Authorization": f"Bearer {TOKENS[0]}"}).json()
        (deed,) = page["items"]
        assert (deed["who"], deed["did"], deed["study"]) == ("ada", "deleted", "study")
        assert deed["more"] == "2 trials"
        assert "ada" in client.get("/audit", headers=ada).text
        assert client.get("/audit").url.path == "/login"
    file.write_text("a b launch c")
    with pytest.raises(IsoshareError, match="a name, a role and a token"):
        read_tokens(file)


def test_the_audit_outlives_lines_that_were_cut_off_and_grows_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 1000)
    found = audit.Audit(tmp_path / "state" / "audit.jsonl")
    for number in range(40):
        found.note("ada", "launched", f"s{number}")
    with (tmp_path / "state" / "audit.jsonl").open("a") as file:
        file.write('{"at": "2030-')
    deeds = found.deeds()
    assert deeds[0].study == "s39"
    assert 5 < len(deeds) < 40
    assert sum(one.stat().st_size for one in (tmp_path / "state").iterdir()) < 3000


def test_ctrl_c_is_not_lost_where_its_exception_is_swallowed() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        interrupt.listen()
        interrupt.check_heard()
        with contextlib.suppress(KeyboardInterrupt):  # as a destructor would
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check_heard()
    finally:
        interrupt.listen()
        signal.signal(signal.SIGINT, before)
