"""The form that launches a search speaks to people, and shows what has an effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isoshare.evaluators import EVALUATORS
from isoshare.search.checks import check_used
from isoshare.search.options import OPTIONS
from isoshare.search.options.definition import ConfigError
from isoshare.search.service.pages.forms import FIELDS, MAIN, idle_fields
from isoshare.search.service.pages.wording import HEADINGS, WORDS, without_flags
from tests.service_fakes import client_of, settings_of

LARGE = "1" + "0" * 30


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(settings_of(tmp_path, searches=0)) as made:
        yield made


def words_of(page: str) -> str:
    """What people read of a page, its labels, help and hints."""
    main = page[page.index("<main") : page.index("</main>")]
    hints = re.findall(r'placeholder="([^"]*)"', main)
    return " ".join([re.sub(r"<[^>]*>", " ", main), *hints])


def test_the_form_has_nothing_of_the_shells_vocabulary(client: TestClient) -> None:
    words = words_of(client.get("/launch").text)
    assert not re.findall(r"--|package\.module|[a-z]+:function|isoshare |TOML", words)
    assert {*WORDS} <= {*FIELDS}
    assert {OPTIONS[key].group for key in FIELDS} == {*HEADINGS}
    assert [key for key in FIELDS if "_" in key and key in words] == []


def test_the_form_shows_what_has_an_effect_and_the_command_line_refuses_the_rest() -> None:
    for evaluator in EVALUATORS:
        idle = idle_fields({"evaluator": [evaluator]})
        for key in FIELDS:
            refused = False
            try:
                check_used({key: 1}, evaluator, "digits")
            except ConfigError:
                refused = True
            assert refused == (key in idle), f"{key} with {evaluator}"
    assert "time_steps" in idle_fields({})
    assert "distill_weight" in idle_fields({"evaluator": ["inherit"]})
    assert "distill_weight" not in idle_fields({"evaluator": ["inherit"], "distill": ["true"]})
    assert "pretrain_epochs" in idle_fields({"pretrained": ["true"], "evaluator": ["inherit"]})
    assert not {*idle_fields({"evaluator": ["no such one"]})} & {*MAIN}


def test_without_scripts_the_server_shows_the_fields_that_go_with_the_choice(
    client: TestClient,
) -> None:
    hidden = r'data-field="time_steps" hidden'
    assert re.search(hidden, client.get("/launch").text)
    chosen = client.get("/launch", params={"evaluator": "spiking", "epochs": "7"}).text
    assert not re.search(hidden, chosen)
    assert '<option value="spiking" selected>' in chosen
    assert 'value="7"' in chosen


@pytest.mark.parametrize(
    ("filled", "field", "says"),
    [
        ({"rungs": "9, 4"}, "rungs", "“Stop poor trainings after” must be ascending"),
        ({"epochs": "0"}, "epochs", "at least 1"),
        ({"trials": "many"}, "trials", "valid integer"),
        ({"trials": LARGE}, "trials", "less than or equal"),
        ({"backbone_arg": "deep"}, "backbone_arg", "“Size of the network” must look like"),
        ({"objectives": "accuracy"}, "objectives", "two or more different “What is traded”"),
        ({"study": "a/b"}, "study", "a study name has letters"),
        ({"dataset": "folder:/etc"}, "dataset", "not on the list of this server"),
        ({"timeout": "soon"}, "timeout", "cannot be read: after it nothing is started"),
        ({"learning_rate": "nan"}, "learning_rate", "got nan"),
    ],
)
def test_an_error_stands_at_its_field(
    client: TestClient, filled: dict[str, str], field: str, says: str
) -> None:
    for place in ("/launch", "/launch/preview"):
        answer = client.post(place, data=filled)
        assert answer.status_code in (403, 422)
        (shown,) = re.findall(f'<p class="mistake" id="{field}-wrong">(.*?)</p>', answer.text)
        assert says in shown.replace("&#39;", "'")
        assert f'<a href="#{field}">' in answer.text
        assert "--" not in shown
        for key, value in filled.items():
            assert f'name="{key}"' in answer.text
            if key in ("rungs", "trials", "study", "backbone_arg"):
                assert f'value="{value}"' in answer.text, "what was typed stays"


def test_flags_become_the_names_of_fields() -> None:
    assert without_flags("--epochs must be 1") == "“Epochs” must be 1"
    assert without_flags("wrong option trials: too many") == "too many"
    assert without_flags("see --host, error: no") == "see --host, error: no"
