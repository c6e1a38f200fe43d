"""The API does what its OpenAPI description says, whatever it is asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from isoshare.search.service.app import make_app
from tests.service_fakes import two_studies

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
FEW: dict[str, Any] = {
    "max_examples": 12,
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
PROCESSES = ("/inspect", "/preview")
"""Each request would be a process of seconds."""
HOST = {"Host": "127.0.0.1"}


@pytest.fixture
def described(tmp_path: Path) -> schemathesis.BaseSchema:
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
        if not operation.path.endswith(PROCESSES):
            settings(**FEW)(given(case=operation.as_strategy())(ask))()
    assert len(operations) >= 20
    assert set(asked) >= {200, 404, 409, 422}
