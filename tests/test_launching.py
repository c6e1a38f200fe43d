"""What the service lets a client ask of a search: over the API, and in the form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isoshare.search.config import make_config
from isoshare.search.defaults import FIRST_SEARCH
from isoshare.search.options import OPTIONS
from isoshare.search.options.definition import as_typed
from isoshare.search.service.errors import Problem
from isoshare.search.service.pages.forms import form_defaults, read_form
from isoshare.search.service.runs.launching import CAN_LAUNCH, THE_SERVERS, help_of
from tests.service_fakes import client_of, settings_of

V1 = "/api/v1"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(settings_of(tmp_path, searches=1)) as made:
        yield made


def test_options_are_those_of_a_search_with_their_help_and_defaults(client: TestClient) -> None:
    assert {*OPTIONS} == {*CAN_LAUNCH, *THE_SERVERS}
    schema = client.get(f"{V1}/openapi.json").json()["components"]["schemas"]["LaunchOptions"]
    assert {*schema["properties"]} == {*CAN_LAUNCH}
    for key, described in schema["properties"].items():
        assert described["description"].startswith(help_of(key))
        assert OPTIONS[key].default in described["description"]


def waited(client: TestClient, name: str) -> dict[str, Any]:
    """A study when its driver has ended."""
    for _ in range(600):
        detail: dict[str, Any] = client.get(f"{V1}/studies/{name}").json()
        if detail["state"] not in ("starting", "running"):
            return detail
        time.sleep(0.2)
    raise AssertionError(detail)


SIMULATED = {"table": "sharebench-digits", "trials": 4, "sampler": "random"}
"""A search of seconds."""


def test_a_search_gets_what_was_asked_for_value_by_value(client: TestClient) -> None:
    """Lists of numbers too."""
    asked = {"study": "rungs", **SIMULATED, "rungs": [1, 3], "methods": None}
    answer = client.post(f"{V1}/studies", json=asked)
    assert answer.status_code == 201, answer.text
    detail = waited(client, "rungs")
    assert detail["state"] == "finished", detail
    assert detail["config"]["rungs"] == [1, 3]


def test_the_form_asks_for_defaults_as_it_is_filled_in(client: TestClient) -> None:
    asked = {"dataset": "cifar10", "objectives": ["accuracy", "parameters"]}
    shown = client.get("/launch/defaults", params=asked).json()["defaults"]
    assert shown["backbone"] == "resnet_cifar"
    assert {*shown} == {*CAN_LAUNCH} - {"driver"}
    assert shown["study"] == "cifar10-resnet_cifar-1"
    page = client.get("/launch").text
    assert 'placeholder="16" data-default="replicates"' in page


def test_the_form_takes_several_rungs(tmp_path: Path) -> None:
    filled = {"rungs": ["3, 6"], "backbone_arg": ["depth=8 width=2"], "channels": ["1"]}
    assert read_form(filled) == {
        "rungs": (3, 6),
        "backbone_arg": {"depth": 8, "width": 2},
        "channels": 1,
    }
    with pytest.raises(Problem, match=r"rungs.*integer"):
        read_form({"rungs": ["3, many"]})


def test_the_form_shows_the_defaults_that_would_be_used() -> None:
    first = form_defaults({})
    assert first["replicates"] == str(FIRST_SEARCH["replicates"])
    assert first["backbone_arg"] == "depth=20 width=2"
    named = form_defaults({"backbone": ["resnet_cifar"]})
    assert (named["replicates"], named["backbone_arg"]) == ("2", "")
    spiking = form_defaults({"evaluator": ["spiking"]})
    assert (spiking["optimizer"], spiking["learning_rate"]) == ("adamw", "0.01")
    many = {"objectives": ["accuracy", "parameters", "macs", "bytes"]}
    assert form_defaults(many)["sampler"] == "tpe"
    for asked in ({}, {"backbone": ["resnet_cifar"]}, {"dataset": ["cifar10"]}):
        config, shown = make_config(read_form(asked)), form_defaults(asked)
        for key in ("epochs", "replicates", "optimizer", "validation", "sampler", "batch_size"):
            assert shown[key] == as_typed(getattr(config, key))


def test_an_option_without_effect_is_refused_before_anything_starts(client: TestClient) -> None:
    for path in ("studies", "preview"):
        answer = client.post(f"{V1}/{path}", json={"time_steps": 5})
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert "does not use --time-steps" in error["message"]
        assert [detail["field"] for detail in error["details"]] == ["time_steps"]
