"""Studies that change while the service shows them: written by others, run by others."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isoshare.evaluators.evaluator import Measured
from isoshare.search.drivers.inline import run_inline
from isoshare.search.results.study_results import load_results
from isoshare.search.service.settings import Settings
from isoshare.space.plan import SharingPlan, Split
from isoshare.storage.change_feed import WatchedStore
from tests.fakes import FakeEvaluator
from tests.service_fakes import client_of, engine_of, half_searched, settings_of

V1 = "/api/v1"
pytestmark = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return settings_of(tmp_path, storage=url)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with client_of(settings) as made:
        yield made


@pytest.fixture
def other(url: str) -> Iterator[WatchedStore]:
    """The store of another process."""
    store = WatchedStore(url)
    yield store
    store.close()


@dataclass
class AwaitedEvaluator(FakeEvaluator):
    """It measures one plan for each that is awaited: the search is no faster than who reads."""

    awaited: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        assert self.awaited.acquire(timeout=60)
        return super().__call__(plan, seeds, split, rungs)


def test_readers_see_whole_states_while_a_search_writes(
    client: TestClient, other: WatchedStore
) -> None:
    engine = engine_of(other, "live", trials=40)
    other.take_lease("live")
    evaluator = AwaitedEvaluator()
    search = threading.Thread(target=run_inline, args=(engine, evaluator))
    seen: list[dict[str, Any]] = []

    def get(path: str) -> Any:
        answer = client.get(f"{V1}/studies/live{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    search.start()
    while search.is_alive():
        evaluator.awaited.release(4)
        seen.append(get(""))
        front = get("/front")["front"]
        page = get("/trials?limit=500")
        states = [row["state"] for row in page["items"]]
        assert page["total"] == len(states)
        ended = [row for row in page["items"] if row["state"] != "running"]
        assert all("accuracy" in row["values"] for row in ended)
        assert len(front) <= len(states), "there are only more trials now"
        assert client.get("/studies/live").status_code == client.get("/").status_code == 200
    search.join()
    assert {one["state"] for one in seen} == {"running"}
    for key in ("version", "finished", "hypervolume"):
        values = [one[key] for one in seen]
        assert values == sorted(values)
    assert len({one["version"] for one in seen}) > 2
    other.release_lease("live")
    assert get("")["state"] == "finished"
    assert get("/front")["hypervolume"] == load_results(other, "live").front.hypervolume


def test_a_search_of_another_process_is_running_and_left_alone(
    client: TestClient, settings: Settings, other: WatchedStore
) -> None:
    half_searched(settings)

    def state() -> tuple[str, bool]:
        (listed,) = client.get(f"{V1}/studies").json()["items"]
        study = client.get(f"{V1}/studies/half").json()
        assert {key: study[key] for key in listed} == listed
        return study["state"], study["outside"]

    assert state() == ("interrupted", False)
    other.take_lease("half")
    assert state() == ("running", True)
    for method, path in (("POST", "/stop"), ("POST", "/resume"), ("DELETE", "")):
        answer = client.request(method, f"{V1}/studies/half{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        assert f"process {os.getpid()}" in answer.json()["error"]["message"]
    page = client.get("/studies/half").text
    assert f"process {os.getpid()}" in page
    assert not any(f'id="{button}"' in page for button in ("stop", "resume", "delete"))
    other.release_lease("half")
    assert state() == ("interrupted", False)
    assert 'id="resume"' in client.get("/studies/half").text
    assert client.delete(f"{V1}/studies/half").status_code == 204
    assert client.get(f"{V1}/studies/half").status_code == 404


def test_a_study_that_another_process_deletes_is_not_found(
    client: TestClient, settings: Settings, other: WatchedStore
) -> None:
    half_searched(settings)
    assert client.get(f"{V1}/studies/half/front").status_code == 200
    other.delete_study("half")
    for path in ("", "/front", "/trials/0"):
        assert client.get(f"{V1}/studies/half{path}").json()["error"]["code"] == "not_found"
    assert client.get(f"{V1}/studies").json()["total"] == 0
