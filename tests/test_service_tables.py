"""Lists and tables of the service: their order, pages, numbers, names and colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isoshare.search.results.pictures.answers import FAINT
from isoshare.search.results.pictures.plotly_figure import KINDS
from isoshare.search.service import app
from isoshare.search.service.audit import Audit
from isoshare.search.service.models import BestPlan, StudyView
from isoshare.search.service.pages.rendering import best_plans, in_column
from isoshare.search.service.runs.driver_files import Driver, DriverFiles
from isoshare.search.service.settings import Settings
from isoshare.search.service.studies.study_state import running_elsewhere
from isoshare.storage.records import RunningDriver
from tests.service_fakes import client_of, two_studies

NOW = datetime.now(UTC)
GONE = Driver("early", 2**22 - 1, 1, "2001-01-01T00:00:00+00:00", exit_code=2)
STYLE = (Path(app.__file__).parent / "pages" / "static" / "style.css").read_text()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With launches that failed before and after the studies were made."""
    made = two_studies(tmp_path_factory.mktemp("tables"))
    files = DriverFiles(made.folder, made.storage)
    files.folder.mkdir(exist_ok=True)
    files.write(GONE)
    files.write(replace(GONE, study="late", started="2101-01-01T00:00:00+00:00"))
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with client_of(settings) as made:
        yield made


def test_failed_launches_stand_among_studies_by_their_time(client: TestClient) -> None:
    for query, names in (
        ({}, ["late", "half", "study", "early"]),
        ({"sort": "created"}, ["early", "study", "half", "late"]),
        ({"state": "failed"}, ["late", "early"]),
    ):
        items = client.get("/api/v1/studies", params=query).json()["items"]
        assert [one["name"] for one in items] == names
    page = client.get("/").text
    places = [page.index(f'href="/studies/{name}"') for name in ("late", "half", "study", "early")]
    assert places == sorted(places)


def test_a_page_of_the_audit_beyond_the_last_is_the_last(
    settings: Settings, client: TestClient
) -> None:
    audit = Audit(DriverFiles(settings.folder, settings.storage).folder / "audit.jsonl")
    for _ in range(51):
        audit.note("ada", "launched", "study")
    last = client.get("/audit?page=1000").text
    assert "page 2 of 2" in last
    assert "Nothing yet" not in last


def test_a_form_in_parts_is_refused_and_starts_nothing(client: TestClient) -> None:
    """Read as an ordinary form it would be an empty one: the default search."""
    before = client.get("/api/v1/studies").json()["total"]
    for place in ("/launch", "/launch/preview", "/studies/study/note", "/studies/study/rename"):
        answer = client.post(place, files={"trials": (None, "5")})
        assert answer.status_code == 400
        assert "application/x-www-form-urlencoded" in answer.text
    assert client.post("/api/v1/studies", files={"trials": (None, "5")}).status_code == 422
    assert client.get("/api/v1/studies").json()["total"] == before


def test_who_was_second_with_a_name_is_told() -> None:
    first = RunningDriver("a-host", 7, NOW)
    assert "process 7 on a-host" in running_elsewhere(first).message
    second = running_elsewhere(first, "study 'x' exists already: choose another name")
    assert second.state == "running"
    assert "launched here under this name ended: study 'x' exists already" in second.message


def test_numbers_of_a_column_have_equal_decimals(client: TestClient) -> None:
    assert in_column([0.5, 0.93412, None]) == ["0.5000", "0.9341", "–"]
    assert in_column([12.5, 3.0]) == ["12.50", "3.00"]
    assert in_column([1396.0, 12.0]) == ["1,396", "12"]
    assert in_column([1396.4, 0.25]) == ["1,396", "0"]
    assert in_column([]) == in_column([None])[1:] == []
    assert in_column([0.0]) == ["0"]
    best = [
        StudyView.model_construct(best=BestPlan(trial=1, values=values))
        for values in ({"accuracy": 0.4, "device_bytes": 1396.0}, {"accuracy": 0.397})
    ]
    assert best_plans([*best, StudyView.model_construct(best=None)]) == [
        "0.4000 accuracy, 1,396 device bytes",
        "0.3970 accuracy",
        "",
    ]
    table = client.get("/studies/study/table?show=all").text
    decimals = re.findall(r'<td class="n">\d\.(\d+)', table)
    assert len(decimals) > 10
    assert {*map(len, decimals)} <= {3, 4}, "accuracy with its error, and the column on test"


def test_long_names_are_cut_and_can_be_read_whole(client: TestClient) -> None:
    client.post("/api/v1/studies/half/rename", json={"name": "h" * 90})
    page = client.get("/").text
    assert f'class="cut" title="{"h" * 90}"' in page
    assert re.search(r"\.cut \{[^}]*text-overflow: ellipsis", STYLE)
    client.post(f"/api/v1/studies/{'h' * 90}/rename", json={"name": "half"})


def themes() -> list[dict[str, str]]:
    """The colours by role, light and dark."""
    light, dark = (
        dict(re.findall(r"--([a-z_0-9-]+): (#[0-9a-f]{6})", part))
        for part in STYLE.split("@media (prefers-color-scheme: dark)")[:2]
    )
    return [light, {**light, **dark}]


def luminance(rgb: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(color: str, paper: str, opacity: float) -> float:
    """Of WCAG 2, of a colour that lets some of the paper through."""
    above, below = ([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in (color, paper))
    mixed = [opacity * a + (1 - opacity) * b for a, b in zip(above, below, strict=True)]
    one, two = luminance(mixed), luminance(below)
    return (max(one, two) + 0.05) / (min(one, two) + 0.05)


def test_faint_points_stand_out_from_the_paper() -> None:
    assert contrast("#000000", "#ffffff", 1) == pytest.approx(21)
    for theme in themes():
        for kind in KINDS:
            role = "several" if kind == "several methods" else kind
            assert contrast(theme[role], theme["paper"], FAINT) >= 3, f"{kind} on {theme['paper']}"
