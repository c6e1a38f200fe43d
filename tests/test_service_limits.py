"""Nothing that a client sends takes the service down, or what others are answered."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from isoshare.search.service.app import make_app
from isoshare.search.service.errors import Problem
from isoshare.search.service.events import StreamRoom
from isoshare.search.service.runs import inspect_process
from isoshare.search.service.settings import Settings, make_settings
from isoshare.search.service.studies import study_cache
from isoshare.search.service.studies.known_studies import Studies
from isoshare.space.errors import IsoshareError
from isoshare.storage.change_feed import WatchedStore
from tests.service_fakes import searched, settings_of


def settings(folder: Path, **changes: Any) -> Settings:
    return Settings(f"sqlite:///{folder / 'i.db'}", folder=folder / "state", **changes)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = make_app(settings(tmp_path))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def test_inspections_beyond_those_under_way_are_refused_at_once(client: TestClient) -> None:
    with contextlib.ExitStack() as busy:
        for _ in range(2):
            assert inspect_process.AT_ONCE.acquire(blocking=False)
            busy.callback(inspect_process.AT_ONCE.release)
        started = time.monotonic()
        answers = [
            client.post("/api/v1/inspect", json={"backbone": "resnet_cifar"}) for _ in range(20)
        ]
        assert time.monotonic() - started < 5
    assert {answer.status_code for answer in answers} == {429}
    assert {answer.headers["retry-after"] for answer in answers} == {"5"}


def test_streams_are_counted_per_client_and_in_all() -> None:
    room = StreamRoom(3, 2)
    with room.taken("a"), room.taken("a"):
        with pytest.raises(Problem, match="2 event streams of a"), room.taken("a"):
            pass
        with room.taken("b"):
            with pytest.raises(Problem, match="3 in all"), room.taken("c"):
                pass
            assert room.count == 3
        assert room.count == 2
    with room.taken("c"):
        assert room.count == 1


def test_a_file_of_the_server_is_no_table(client: TestClient) -> None:
    for table in ("/etc/passwd", "../x.parquet", __file__):
        asked = {"driver": "simulate", "table": table}
        answer = client.post("/api/v1/studies", json=asked)
        assert answer.status_code == 403, answer.text
        assert (
            "choose one of" in answer.json()["error"]["message"] or "unknown table" in answer.text
        )


HUGE = (
    *[(name, 10**30) for name in ("trials", "epochs", "replicates", "batch_size", "seed")],
    *[(name, 2**32) for name in ("workers", "replicates", "trials", "cpus_per_trial")],
    *[(name, 1e308) for name in ("learning_rate", "cpus_per_trial", "gpus_per_trial")],
    *[(name, 10**30) for name in ("max_parameters", "max_macs", "max_bytes", "resolution")],
)


@pytest.mark.parametrize(("name", "value"), HUGE)
def test_numbers_beyond_all_bounds_are_refused_with_a_sentence(
    client: TestClient, name: str, value: float
) -> None:
    answer = client.post("/api/v1/studies", json={"backbone": "resnet_cifar", name: value})
    assert answer.status_code in (403, 422), answer.text
    assert name in answer.text


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("inspect", {"backbone": "resnet_cifar", "arguments": {"depth": 2**31}}),
        ("studies", {"backbone": "resnet_cifar", "backbone_arg": {"depth": 2**31}}),
        ("studies", {"backbone": "resnet_cifar", "vary": {"depth": [20, 2**31]}}),
        ("preview", {"backbone": "resnet_cifar", "backbone_arg": {"width": 2**31}}),
    ],
)
def test_a_backbone_that_would_build_for_minutes_is_refused_at_once(
    client: TestClient, path: str, asked: dict[str, Any]
) -> None:
    begun = time.monotonic()
    answer = client.post(f"/api/v1/{path}", json=asked)
    assert answer.status_code == 403, answer.text
    assert "backbone_arg may be at most 25000 on this server, got 2147483648" in answer.text
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(client: TestClient, word: str) -> None:
    headers = {"content-type": "application/json"}
    for name in ("learning_rate", "validation", "cpus_per_trial", "trials"):
        answer = client.post("/api/v1/studies", content=f'{{"{name}": {word}}}', headers=headers)
        assert answer.status_code == 422, answer.text


def test_the_operator_sets_the_bounds(tmp_path: Path) -> None:
    given = {"host": "127.0.0.1", "port": 0, "state": tmp_path / "state", "searches": 1}
    given |= {"storage": f"sqlite:///{tmp_path}/i.db"}
    made = make_settings({**given, "most": ["trials=7", "backbone_arg=64"]})
    asked = ({"trials": 8}, {"backbone": "resnet_cifar", "backbone_arg": {"depth": 110}})
    with TestClient(make_app(made), base_url="http://127.0.0.1") as client:
        answers = [client.post("/api/v1/studies", json=one) for one in asked]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert "trials may be at most 7" in answers[0].text
    assert "backbone_arg may be at most 64" in answers[1].text
    for wrong, says in (
        ("trails=7", "trials"),
        ("trials", "must look like"),
        ("trials=nan", "look"),
    ):
        with pytest.raises(IsoshareError, match=says):
            make_settings({**given, "most": [wrong]})


def test_a_request_that_does_not_come_to_its_end_is_given_up(tmp_path: Path) -> None:
    app = make_app(settings(tmp_path, body_seconds=0.5))
    config = uvicorn.Config(app, port=0, log_level="critical")
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with socket.create_connection(listening.getsockname(), timeout=30) as sender:
            head = b"POST /api/v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n"
            sender.sendall(head + b"Content-Type: application/json\r\n\r\n{")
            started = time.monotonic()
            sender.settimeout(20)
            with contextlib.suppress(ConnectionError):
                sender.recv(100)
            assert time.monotonic() - started < 10
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listening.close()


@pytest.mark.parametrize("many", [1, study_cache.MANY_TRIALS])
@pytest.mark.parametrize("elsewhere", [True, False], ids=["by another process", "here"])
def test_nothing_of_a_deleted_study_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int, elsewhere: bool
) -> None:
    monkeypatch.setattr(study_cache, "MANY_TRIALS", many)
    known = settings_of(tmp_path)
    searched(known, "kept")
    searched(known, "gone")
    studies, store = Studies(known), WatchedStore(known.storage)
    studies.snapshot("kept")
    seen = weakref.ref(studies.snapshot("gone"))
    assert (gc.get_freeze_count() > 0) is (many == 1)
    (store.delete_study if elsewhere else studies.delete)("gone")
    studies.stored()
    gc.collect()
    assert seen() is None
    assert gc.get_freeze_count() == 0
    assert studies.snapshot("kept").results.finished
    store.close()
    studies.close()
