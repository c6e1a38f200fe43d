"""The API does what its OpenAPI description says, whatever it is asked.

``ISOSHARE_EXAMPLES=500 pytest tests/test_service_schema.py`` tries that many for each operation;
networks are then looked at by real processes of seconds each.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from isoshare.search.service.app import make_app
from isoshare.search.service.runs import inspect_process
from isoshare.search.service.runs.launching import CAN_LAUNCH
from tests.service_fakes import client_of, two_studies

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
EXAMPLES = int(os.environ.get("ISOSHARE_EXAMPLES", "0"))
FEW: dict[str, Any] = {
    "max_examples": EXAMPLES or 12,
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
HOST = {"Host": "127.0.0.1"}
LOOK: dict[str, Any] = {"arguments": {}, "dataset": "digits", "smallest": 1, "reach": 0.5}
LOOK |= {"plans": 3, "trials": 1, "workers": 1, "seconds_per_trial": None, "seconds": None}
SEEN = {"study": "mine", "backbone": "b", "parameters": 9, "groups": [], **LOOK}
SEEN |= {"notes": [], "warnings": []}
"""What a process that looks at a network prints, for both kinds of look."""


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are looked at in no time, unless many examples are asked for."""
    if not EXAMPLES:
        monkeypatch.setattr(inspect_process, "_run", lambda line, storage="": json.dumps(SEEN))


@pytest.fixture
def described(tmp_path: Path, looked_at: None) -> schemathesis.BaseSchema:
    """A service with two studies on which no search can run."""
    app = make_app(two_studies(tmp_path, searches=0))
    app.state.hub.closed = True  # streams of events end after their first event
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=HOST)


def test_every_answer_is_as_described(described: schemathesis.BaseSchema) -> None:
    asked: Counter[int] = Counter()

    def ask(case: schemathesis.Case[Any]) -> None:
        path = case.path_parameters
        if "name" in path and case.method != "DELETE" and len(path["name"]) % 2:
            path["name"] = "study"  # else all would be about studies that do not exist
        answer = case.call_and_validate(checks=list(CHECKS), headers=HOST)
        asked[answer.status_code] += 1

    operations = [found.ok() for found in described.get_all_operations() if isinstance(found, Ok)]
    for operation in operations:
        settings(**FEW)(given(case=operation.as_strategy())(ask))()
    assert len(operations) >= 20
    assert set(asked) >= {200, 404, 409, 422}


ODD = (math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 0.5, 0, -1, True)
LARGE = (10**30, -(10**30), 2**31, 2**32, 2**63, 2**64, 10**400)
NUMBERS = st.sampled_from((*ODD, *LARGE)) | st.floats() | st.integers()
VALUES = st.one_of(
    NUMBERS,
    NUMBERS.map(str),
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(("depth", "width", "kernel")), NUMBERS, min_size=1),
    st.dictionaries(st.just("width"), st.lists(NUMBERS, min_size=1, max_size=3), min_size=1),
)
NUMBERED = {
    "/": ("page",),
    "/audit": ("page",),
    "/studies/study/table": ("page", "sort"),
    "/studies/study/pick": ("max_parameters", "min_accuracy"),
    "/compare": ("x", "y"),
    "/studies/study/trials/{number}": (),
}
"""Pages with numbers in their addresses."""


def test_odd_numbers_are_answered_with_a_sentence(tmp_path: Path, looked_at: None) -> None:
    asked: Counter[int] = Counter()
    with client_of(two_studies(tmp_path, searches=0), raise_server_exceptions=False) as client:
        client.app.state.hub.closed = True  # type: ignore[attr-defined]
        for operation in [*operations_of(client), *pages()]:
            settings(**FEW)(given(data=st.data())(asking(client, operation, asked)))()
    assert set(asked) >= {200, 404, 409, 422}


@dataclass(frozen=True)
class Operation:
    """What can be asked, with the places where a number may stand.

    needed: parameters of the query that it cannot do without. example: of a body; None where there
    is none. form: whether it is sent as a browser does.
    """

    method: str
    path: str
    query: tuple[str, ...] = ()
    needed: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    fields: tuple[str, ...] = ()
    form: bool = False

    def ask(self, client: TestClient, data: st.DataObject) -> httpx2.Response:
        """With odd numbers in one or two places."""
        goes = self.method == "DELETE" or self.path.endswith("/rename")
        number, name = data.draw(NUMBERS), "none" if goes else "study"
        path = self.path.replace("{number}", str(number)).replace("{name}", name)
        query = {**self.needed, **data.draw(odd_in(self.query, NUMBERS))}
        sent: dict[str, Any] = {}
        if self.example is not None:
            body = {**self.example, **data.draw(odd_in(self.fields, VALUES))}
            sent = {"data": {k: str(v) for k, v in body.items()}} if self.form else as_json(body)
        return client.request(self.method, path, params=query, follow_redirects=False, **sent)


def odd_in(places: tuple[str, ...], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Some of the places with values."""
    return st.dictionaries(st.sampled_from(places), values, max_size=2) if places else st.just({})


def asking(
    client: TestClient, one: Operation, asked: Counter[int]
) -> Callable[[st.DataObject], None]:
    """Ask it once, and count how it was answered."""

    def ask(data: st.DataObject) -> None:
        answer = one.ask(client, data)
        is_told(answer)
        asked[answer.status_code] += 1

    return ask


def as_json(body: object) -> dict[str, Any]:
    """With NaN and Infinity, which Python's own reader takes."""
    return {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}


def operations_of(client: TestClient) -> Iterator[Operation]:
    """Those of the REST API, from its own description."""
    document = client.get("/api/v1/openapi.json").json()
    kinds = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            given = [one for one in about.get("parameters", ()) if one["in"] == "query"]
            names = tuple(one["name"] for one in given)
            needed = {one["name"]: "study" for one in given if one.get("required")}
            words = json.dumps(about.get("requestBody", {}))
            kind = next((kinds[name] for name in kinds if f'/{name}"' in words), None)
            operation = Operation(method.upper(), path, names, needed)
            if kind is not None:
                fields = tuple(kind["properties"])
                operation = replace(operation, example=kind["example"], fields=fields)
            yield operation


def pages() -> Iterator[Operation]:
    """Those that have numbers in their addresses, and the forms."""
    for path, query in NUMBERED.items():
        yield Operation("GET", path, query)
    form = Operation("POST", "/launch", (), {}, {"dataset": "digits"}, CAN_LAUNCH, form=True)
    yield from (form, replace(form, path="/launch/preview"))
    resume = replace(form, path="/studies/half/resume", example={}, fields=("trials", "workers"))
    yield resume


def is_told(answer: httpx2.Response) -> None:
    """An answer that is no failure of the service, and says what is wrong."""
    assert answer.status_code < 500, answer.text
    if answer.headers.get("content-type") == "application/json":
        document = json.loads(answer.text, parse_constant=pytest.fail)  # NaN is no JSON
        if answer.status_code >= 400:
            said = document["error"]["message"]
            assert len(said.split()) > 2, said
            assert "exit code" not in said, said
            assert len(said) < 2000, said
