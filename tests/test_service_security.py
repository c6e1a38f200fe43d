"""Who may do what, and what the service refuses before it looks at it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from isoshare.search.service.access.guard import HEADERS, RateLimiter
from isoshare.search.service.server import serve
from isoshare.search.service.settings import Caller, Settings, Tokens, make_settings, read_tokens
from isoshare.space.errors import IsoshareError
from tests.service_fakes import TOKENS, client_of, searched, settings_of
from tests.test_architecture import ROOT

V1 = "/api/v1"
READ, LAUNCH = TOKENS


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A service that wants tokens, with a study, on which nothing can be launched."""
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "tokens"
    file.write_text(f"# who may do what\nread {READ}\n\nlaunch {LAUNCH}\n")
    settings = settings_of(folder, tokens=read_tokens(file), host="0.0.0.0", searches=0)
    searched(settings, trials=2)
    return settings


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/studies", (401, 200, 200)),
        ("GET", "/studies/study/front", (401, 200, 200)),
        ("GET", "/studies/none", (401, 404, 404)),
        ("POST", "/studies", (401, 403, 422)),
        ("POST", "/studies/study/stop", (401, 403, 409)),
        ("POST", "/studies/study/resume", (401, 403, 409)),
        ("DELETE", "/studies/none", (401, 403, 404)),
        ("POST", "/inspect", (401, 403, 422)),
        ("GET", "/health", (200, 200, 200)),
    ],
)
def test_a_token_may_do_what_its_role_says(
    guarded: Settings, method: str, path: str, expected: tuple[int, int, int]
) -> None:
    client = client_of(guarded)
    for token, status in zip(("", READ, LAUNCH), expected, strict=True):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"trials": 0} if path in ("/studies", "/inspect") else None
        answer = client.request(method, f"{V1}{path}", headers=headers, json=body)
        assert answer.status_code == status


@pytest.mark.parametrize("token", ["wrong", READ[:-1], READ + "x", "é" * 20, " "])
def test_a_wrong_token_is_refused(guarded: Settings, token: str) -> None:
    client = client_of(guarded)
    headers = [(b"authorization", f"Bearer {token}".encode())]
    answer = client.get(f"{V1}/studies", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_logged_in"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert READ not in answer.text


def test_pages_ask_for_a_login_and_remember_it(guarded: Settings) -> None:
    client = client_of(guarded, follow_redirects=False)
    sent = client.get("/studies/study")
    assert sent.headers["location"] == "/login?next=%2Fstudies%2Fstudy"
    assert client.post("/login", data={"token": "wrong", "next": "/"}).status_code == 401
    answer = client.post("/login", data={"token": READ, "next": "/studies/study"})
    assert answer.headers["location"] == "/studies/study"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert READ not in cookie
    assert client.get("/studies/study").status_code == 200
    assert client.get("/launch").status_code == 403
    client.post("/logout")
    assert client.get("/studies/study").status_code == 303


@pytest.mark.parametrize("place", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_a_login_leads_nowhere_else(guarded: Settings, place: str) -> None:
    client = client_of(guarded, follow_redirects=False)
    answer = client.post("/login", data={"token": READ, "next": place})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_others_change_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    client = client_of(settings_of(tmp_path))
    answer = client.post(f"{V1}/studies", json={"trials": 0}, headers=headers)
    assert answer.status_code == 403
    same = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert client.post(f"{V1}/studies", json={"trials": 0}, headers=same).status_code == 422


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1"])
def test_on_loopback_other_names_are_not_answered(tmp_path: Path, host: str) -> None:
    client = client_of(settings_of(tmp_path))
    answer = client.get(f"{V1}/health", headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "wrong_request")
    for known in ("localhost:8000", "127.0.0.1:1", "[::1]:8000"):
        assert client.get(f"{V1}/health", headers={"Host": known}).status_code == 200


def test_a_public_name_is_answered_where_tokens_are_asked_for(tmp_path: Path) -> None:
    tokens = Tokens(((Caller("read"), b"x" * 32),))
    client = client_of(settings_of(tmp_path, hosts=("nas.example",), tokens=tokens))
    assert client.get(f"{V1}/health", headers={"Host": "nas.example"}).status_code == 200
    assert client.get(f"{V1}/health", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("path", ["/", f"{V1}/health", f"{V1}/none", "/static/app.js", "/launch"])
def test_every_answer_has_the_security_headers(tmp_path: Path, path: str) -> None:
    answer = client_of(settings_of(tmp_path)).get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self'"
    assert "frame-ancestors 'none'" in policy


def test_an_error_of_the_service_itself_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isoshare.search.service.rest.studies.models.Health", lambda: 1 / 0)
    answer = client_of(settings_of(tmp_path), raise_server_exceptions=False).get(f"{V1}/health")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "ZeroDivision" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_large_request_is_refused(tmp_path: Path) -> None:
    client = client_of(settings_of(tmp_path))
    for path in (f"{V1}/studies", "/launch"):
        answer = client.post(path, content=b"x" * 70_000)
        assert answer.status_code == 413
    assert client.post(f"{V1}/studies", content=b"x" * 70_000).json()["error"]["code"] == (
        "too_large"
    )
    chunks = (b"x" * 1000 for _ in range(70))
    assert client.post(f"{V1}/studies", content=chunks).status_code == 413


def test_too_many_requests_are_refused_for_a_while(tmp_path: Path) -> None:
    client = client_of(settings_of(tmp_path, rate=0.5))
    states = [client.get(f"{V1}/health").status_code for _ in range(3)]
    assert states == [200, 429, 429]
    answer = client.get(f"{V1}/health")
    assert answer.json()["error"]["code"] == "too_many_requests"
    assert int(answer.headers["retry-after"]) >= 1


def test_tokens_cannot_be_tried_one_after_another(guarded: Settings) -> None:
    client = client_of(guarded)
    states = [client.post("/login", data={"token": f"guess {n}"}).status_code for n in range(12)]
    assert states[:10] == [401] * 10
    assert states[-1] == 429
    assert client.get("/login").status_code == 200


def test_a_bucket_counts_each_address_by_itself_and_fills_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("isoshare.search.service.access.security.time.monotonic", lambda: now[0])
    bucket = RateLimiter(2.0, 3.0)
    assert [bucket.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.wait("b") == 0
    now[0] = 0.5
    assert [bucket.wait("a"), bucket.wait("a")] == [0, 0.5]


def test_many_addresses_do_not_set_each_other_free() -> None:
    bucket = RateLimiter(0.001, 1, most=100)
    assert bucket.wait("busy") == 0
    for number in range(300):
        bucket.wait(f"other {number}")
        assert bucket.wait("busy") > 0
    assert bucket.wait("other 0") == 0  # silent for longest, so its place went to another


OPTIONS = {"host": "127.0.0.1", "port": 0, "state": Path("state"), "searches": 1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "0.0.0.0"}, "--token-file"),
        ({"public_host": ["nas.example"]}, "--token-file"),
        ({"allow_dataset": ["moon"]}, "unknown data set 'moon'"),
        ({"token_file": "none"}, "cannot read the token file"),
    ],
)
def test_settings_that_let_too_much_in_are_refused(given: dict[str, object], said: str) -> None:
    given = {**given, **({"token_file": Path("none")} if "token_file" in given else {})}
    with pytest.raises(IsoshareError, match=said):
        make_settings({**OPTIONS, **given})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no tokens"),
        ("read", "line 1: a line is a name, a role and a token"),
        ("\nadmin abcdefghijklmnop", "line 2: unknown role 'admin'"),
        ("read short-secret", "16 characters or more"),
    ],
)
def test_a_token_file_is_checked_and_no_token_is_shown(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(IsoshareError, match=said) as caught:
        read_tokens(tmp_path / "tokens")
    assert "secret" not in str(caught.value).replace("import secrets", "").replace("secrets.", "")


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(IsoshareError, match="address already in use; choose another --port"):
            serve(settings_of(tmp_path, port=port), print)


def test_the_command_serves_until_ctrl_c_even_while_a_page_listens(tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "run_search.py"), "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe) as process:
        try:
            connection = _listen_to_events(process)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
            connection.close()
        finally:
            process.kill()
    assert not (tmp_path / "isoshare.db").exists()


def _listen_to_events(process: subprocess.Popen[bytes]) -> http.client.HTTPConnection:
    assert process.stdout is not None
    said = process.stdout.readline().decode()
    assert said.startswith("Isoshare is at http://127.0.0.1:")
    port = int(said.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"{V1}/events")
    assert connection.getresponse().status == 200
    return connection
