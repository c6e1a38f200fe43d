"""The service as operators run it: behind nginx, under a path, watched, and stopped."""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]  # which Ray brings
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from isoshare.search.cli import main as cli
from isoshare.search.service.access.traffic import Traffic
from isoshare.search.service.app import make_app
from isoshare.search.service.models import State
from isoshare.search.service.runs import inspect_process
from isoshare.search.service.server import Server, config_of
from isoshare.search.service.settings import Settings, make_settings, read_tokens
from isoshare.search.service.studies.tally import Tally
from isoshare.space.errors import IsoshareError
from tests.service_fakes import TOKENS, client_of, searched, settings_of, two_studies
from tests.test_architecture import ROOT

V1 = "/api/v1"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
FILES = ROOT / "docs" / "service"


@contextmanager
def listening(settings: Settings) -> Iterator[tuple[Server, int]]:
    """A service that listens on loopback, in a thread; yields its port, too."""
    server = Server(config_of(make_app(settings), settings))
    place = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        yield server, place.getsockname()[1]
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(60)
        place.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return int(place.getsockname()[1])


@contextmanager
def nginx(folder: Path, upstream: int, root: str) -> Iterator[int]:
    """The documented proxy on a free port in front of a service; as a user who is nobody."""
    assert NGINX is not None
    port = free_port()
    name = ["-subj", "/CN=isoshare.example.org", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(["openssl", "req", "-x509", *name, *files], check=True, capture_output=True)
    text = (FILES / "nginx.conf").read_text()
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/isoshare.pem", str(folder / "pem")),
        ("/etc/ssl/private/isoshare.key", str(folder / "key")),
        ("location / {", f"location {root}/ {{"),
        ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
    ):
        assert old in text
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    whole = f"pid {folder}/pid; daemon off; error_log stderr; events {{}}\n"
    whole += f"http {{ access_log off; {temporary}\n{text}\n}}"
    (folder / "nginx.conf").write_text(whole)
    line = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise AssertionError("nobody listens")


@pytest.mark.skipif(NGINX is None, reason="no nginx: apt-get install nginx-light")
@pytest.mark.parametrize("root", ["", "/isoshare"])
def test_the_documented_proxy_serves_pages_forms_and_events(tmp_path: Path, root: str) -> None:
    (tmp_path / "tokens").write_text(f"ada launch {TOKENS[1]}")
    named = {"hosts": ("isoshare.example.org",), "root_path": root, "searches": 0}
    settings = settings_of(tmp_path, tokens=read_tokens(tmp_path / "tokens"), **named)
    searched(settings, trials=2)
    with listening(settings) as (_, upstream), nginx(tmp_path, upstream, root) as port:
        origin = f"https://isoshare.example.org:{port}"
        headers = {"Host": origin.removeprefix("https://"), "Origin": origin}
        with httpx2.Client(
            base_url=f"https://127.0.0.1:{port}{root}", verify=False, headers=headers
        ) as client:
            sent = client.get("/studies/study")
            assert sent.headers["location"] == f"{root}/login?next=%2Fstudies%2Fstudy"
            login = client.post("/login", data={"token": TOKENS[1], "next": "/studies/study"})
            assert login.headers["location"] == f"{root}/studies/study"
            cookie = login.headers["set-cookie"]
            assert f"Path={root or '/'};" in cookie
            assert "Secure" in cookie
            assert "max-age" in login.headers["strict-transport-security"]
            session = {"Cookie": cookie.partition(";")[0]}
            page = client.get("/studies/study", headers=session)
            assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
            places = set(re.findall(r'(?:href|src|action|data-\w+)="(/[^"]*)"', page.text))
            assert len(places) > 10
            assert {place for place in places if not place.startswith(f"{root}/")} == set()
            for place in places:  # all that a page names is there
                if "/events" not in place and "/stop" not in place and "/delete" not in place:
                    found = client.get(place.removeprefix(root), headers=session)
                    assert found.status_code in (200, 303, 405, 422), place
            with client.stream("GET", f"{V1}/events", headers=session) as events:
                assert next(events.iter_lines()).startswith(("event:", ":", "data:"))
            forged = client.post("/logout", headers={**session, "Origin": "https://evil.example"})
            assert forged.status_code == 403
            out = client.post("/logout", headers=session)
            assert (out.status_code, out.headers["location"]) == (303, f"{root}/login")


def test_a_path_is_taken_with_and_without_what_the_proxy_leaves_off(tmp_path: Path) -> None:
    settings = two_studies(tmp_path, root_path="/a/b")
    with client_of(settings) as client:
        for place in ("/studies/study", "/a/b/studies/study"):
            page = client.get(place)
            assert page.status_code == 200
            assert 'href="/a/b/static/style.css"' in page.text
        assert client.get("/a/b/static/style.css").status_code == 200
    given = {"host": "127.0.0.1", "port": 0, "searches": 1, "state": tmp_path}
    assert make_settings({**given, "root_path": "a/b/"}).root_path == "/a/b"
    with pytest.raises(IsoshareError, match="must look like /isoshare"):
        make_settings({**given, "root_path": "/a b"})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return two_studies(tmp_path_factory.mktemp("shown"))


def test_head_is_get_without_a_body(shown: Settings) -> None:
    with client_of(shown) as client:
        for place in ("/", "/studies/study", f"{V1}/studies", f"{V1}/events", "/static/app.js"):
            answer = client.head(place)
            assert (answer.status_code, answer.content) == (200, b""), place
        assert client.head(f"{V1}/studies/none").status_code == 404
        assert client.app.state.streams.count == 0  # type: ignore[attr-defined]


def test_prometheus_is_told(shown: Settings) -> None:
    with client_of(shown) as client:
        client.get(f"{V1}/studies/none")
        found = told(client)
        listed = Counter(one["state"] for one in client.get(f"{V1}/studies").json()["items"])
    states = {labels[1]: n for labels, n in found.items() if labels[0] == "isoshare_searches"}
    assert {state: n for state, n in states.items() if n} == listed
    assert listed == {"finished": 1, "interrupted": 1}
    assert set(states) == {*get_args(State), "unread"}
    assert found["isoshare_trials", "finished"] == 13
    assert found["isoshare_trials", "failed"] == 1
    assert found["isoshare_database_up",] == 1
    assert found["isoshare_event_streams",] == 0
    assert found["isoshare_requests_total", "GET", f"{V1}/studies/{{name}}", "404"] == 1
    assert found["isoshare_request_seconds_count", f"{V1}/studies/{{name}}"] == 1


def told(client: TestClient) -> dict[tuple[str, ...], float]:
    """What /metrics says: values by the name and the labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def test_each_study_is_read_once_to_tell_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = make_app(settings := two_studies(tmp_path)).state.studies
    read, state = list[str](), studies.state

    def reading(name: str) -> State:
        read.append(name)
        return cast("State", state(name))

    monkeypatch.setattr(studies, "state", reading)
    tally = Tally(studies)
    assert Tally(studies, seconds=-1).searches()["unread"] == 2  # none of the time that it takes
    assert tally.searches() == tally.searches()
    assert sorted(read) == ["half", "study"]
    searched(settings, "another")
    assert tally.searches()["finished"] == 2
    assert sorted(read) == ["another", "half", "study"]
    studies.delete("study")
    assert tally.searches()["finished"] == 1
    studies.close()


@pytest.mark.parametrize("kind", ["text", "json"])
def test_requests_are_written_with_who_and_how_long(shown: Settings, kind: Any) -> None:
    app, lines = make_app(shown), list[str]()
    metrics = app.state.metrics

    with client_of(shown) as client:
        client.app = Traffic(app, metrics, kind, "", lines.append)
        client._transport.app = client.app  # type: ignore[attr-defined]
        client.get(f"{V1}/studies?limit=3")
        client.get(f"{V1}/%0A%1b[31m")
    assert len(lines) == 2
    if kind == "json":
        facts = json.loads(lines[0])
        assert (facts["method"], facts["path"], facts["status"]) == ("GET", f"{V1}/studies", 200)
        assert facts["ms"] > 0
    else:
        assert re.fullmatch(rf"\S+ \S+ - GET {V1}/studies 200 [\d.]+ ms", lines[0])
        assert lines[1].isprintable()


def test_it_stops_at_once_though_streams_are_open_and_a_network_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_process, "PROGRAM", "-c")  # python -c inspect ...: and then waits
    waiting = "import time; time.sleep(300)"
    run = inspect_process._output
    monkeypatch.setattr(
        inspect_process, "_output", lambda line, more: run([line[0], "-c", waiting], more)
    )
    with listening(settings_of(tmp_path)) as (server, port):
        base = f"http://127.0.0.1:{port}"
        asked = {"json": {"backbone": "resnet_cifar"}, "timeout": 60}
        held = threading.Thread(target=lambda: _ask(f"{base}{V1}/inspect", asked))
        with httpx2.stream("GET", f"{base}{V1}/events") as events:
            lines = events.iter_lines()
            next(lines)
            held.start()
            while not inspect_process._children:
                time.sleep(0.02)
            started = time.monotonic()
            server.handle_exit(signal.SIGINT, None)
            for _ in lines:
                pass
            held.join(60)
            assert time.monotonic() - started < 30  # well below the 300 s of what was under way


def _ask(address: str, asked: dict[str, Any]) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        httpx2.post(address, **asked)


def options_of(line: list[str]) -> set[str]:
    return {word for word in line if word.startswith("--")}


def served() -> set[str]:
    """The options that ``serve`` has."""
    (command,) = [one for one in cli.app.registered_commands if one.callback.__name__ == "serve"]  # type: ignore[union-attr]
    return {f"--{name.replace('_', '-')}" for name in command.callback.__annotations__}


def test_the_container_and_the_compose_file_fit_each_other() -> None:
    lines = (FILES / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    said = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    known = {"FROM", "RUN", "COPY", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK"}
    assert {word for word, _ in said} == known | {"ENTRYPOINT", "CMD"}
    last = dict(said)
    assert options_of(json.loads(last["CMD"])) <= served()
    compose = yaml.safe_load((FILES / "compose.yaml").read_text())
    ours, database = compose["services"]["isoshare"], compose["services"]["database"]
    assert (FILES / ours["build"]["context"]).resolve() == ROOT
    assert (ROOT / ours["build"]["dockerfile"]).exists()
    assert set(ours["depends_on"]) == {"database"}
    user = database["environment"]["POSTGRES_USER"]
    assert f"//{user}@database/" in ours["environment"]["ISOSHARE_STORAGE"]
    assert ours["ports"] == [f"127.0.0.1:{last['EXPOSE']}:{last['EXPOSE']}"]
    used = {*ours["secrets"], *database["secrets"]}
    assert used == set(compose["secrets"])
    mounted = [one.partition(":")[0] for one in (*ours["volumes"], *database["volumes"])]
    assert set(mounted) == set(compose["volumes"])


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(FILES / "isoshare.service")
    assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}
    line = shlex.split(unit["Service"]["ExecStart"])
    assert line[1] == "serve"
    assert options_of(line) <= served()
    assert unit["Service"]["KillMode"] == "process"  # searches outlive the service
    if analyze := shutil.which("systemd-analyze"):
        checked = [analyze, "verify", "--man=no", str(FILES / "isoshare.service")]
        said = subprocess.run(checked, capture_output=True, text=True, check=False).stderr
        ours = [line for line in said.splitlines() if "isoshare.service" in line]
        assert [line for line in ours if "not executable" not in line] == []
