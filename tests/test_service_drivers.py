"""Searches as processes of their own: started, found again, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isoshare.search.service.runs.driver_files import Driver
from isoshare.search.service.runs.processes import Drivers, is_alive
from isoshare.search.service.studies.known_studies import Studies
from tests.service_fakes import client_of, half_searched, settings_of

V1 = "/api/v1"
TINY = {
    "backbone": "resnet_cifar",
    "backbone_arg": {"depth": 8, "width": 2},
    "epochs": 1,
    "replicates": 1,
    "workers": 1,
    "trials": 500,
}


def wait_until(true: Callable[[], bool], seconds: float = 500) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.1)


def test_a_search_is_launched_found_again_and_stopped(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, searches=1)
    half_searched(settings, "other")
    with client_of(settings) as client:
        launched = client.post(f"{V1}/studies", json={**TINY, "study": "mine"})
        assert launched.status_code == 201
        assert launched.headers["location"] == f"{V1}/studies/mine"
        assert launched.json()["state"] == "starting"
        assert client.get(f"{V1}/studies").json()["items"][0]["name"] == "mine"
        assert client.get("/studies/mine").status_code == 200
        refused = client.post(f"{V1}/studies", json=TINY)
        assert refused.status_code == 409
        assert "at most 1" in refused.json()["error"]["message"]
        assert client.delete(f"{V1}/studies/mine").status_code == 409
        assert client.post(f"{V1}/studies/other/resume").status_code == 409
        wait_until(lambda: state(client, "mine") == "running")
        again = Studies(settings)  # as a service that was started again sees it
        assert again.detail("mine").state == "running"
        again.close()
        stopping = client.post(f"{V1}/studies/mine/stop")
        assert (stopping.status_code, stopping.json()["stopping"]) == (202, True)
        wait_until(lambda: state(client, "mine") == "interrupted")
        assert client.post(f"{V1}/studies/mine/stop").status_code == 409
        assert client.delete(f"{V1}/studies/mine").status_code == 204
        assert [one["name"] for one in client.get(f"{V1}/studies").json()["items"]] == ["other"]


def state(client: TestClient, name: str) -> str:
    return str(client.get(f"{V1}/studies/{name}").json()["state"])


def test_a_search_that_cannot_start_says_why_and_is_forgotten(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with client_of(settings) as client:
        asked = {**TINY, "backbone_arg": {"height": 3}, "study": "wrong"}
        assert client.post(f"{V1}/studies", json=asked).status_code == 201
        wait_until(lambda: state(client, "wrong") == "failed")
        message = client.get(f"{V1}/studies/wrong").json()["message"]
        assert "height" in message
        assert message in client.get("/studies/wrong").text.replace("&#39;", "'")
        assert client.delete(f"{V1}/studies/wrong").status_code == 204
        assert client.get(f"{V1}/studies").json()["total"] == 0


def test_a_process_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        drivers = Drivers(tmp_path, "sqlite:///x.db", 1)
        assert drivers.find("s") is None
        born = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        mine = Driver("s", process.pid, born, "2026-01-01T00:00:00+00:00")
        assert is_alive(mine)
        assert not is_alive(Driver("s", process.pid, born - 1, mine.started))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, nobody has asked
        assert not is_alive(mine)
    assert not is_alive(mine)


def test_a_search_that_has_ended_is_no_process_any_more_when_the_service_stops(
    tmp_path: Path,
) -> None:
    drivers = Drivers(tmp_path, "sqlite:///x.db", 1)
    first = drivers.launch("s", {"trials": 0})  # refused: it ends at once
    wait_until(lambda: not is_alive(first))
    second = drivers.resume("s", {})
    wait_until(lambda: not is_alive(second))
    drivers.close()
    for ended in (first, second):
        with pytest.raises(ChildProcessError):
            os.waitpid(ended.pid, os.WNOHANG)
    assert drivers.files.notes()["s"].exit_code == 2


@pytest.mark.parametrize("study", ["a", "../a", "ä" * 100])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, study: str) -> None:
    drivers = Drivers(tmp_path / "state", "sqlite:///x.db", 1)
    assert drivers.files.log(study).resolve().is_relative_to(tmp_path / "state")
    drivers.forget(study)
    assert drivers.files.complaint(study) == ""
