"""Notes, tags and names of studies, and how studies are found among many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isoshare.search.service.runs.driver_files import Driver, DriverFiles
from isoshare.search.service.settings import Settings
from isoshare.search.workflows.administration.archive import restore_archive, write_archive
from isoshare.storage.store import Store
from tests.service_fakes import client_of, two_studies

V1 = "/api/v1"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return two_studies(tmp_path)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with client_of(settings) as made:
        yield made


def test_a_note_stays_with_its_study_and_trial(
    settings: Settings, client: TestClient, tmp_path: Path
) -> None:
    noted = {"text": "for the <b>paper</b>", "tags": ["paper", "ada", "paper"]}
    study = client.put(f"{V1}/studies/study/note", json=noted).json()
    assert (study["note"], study["tags"]) == (noted["text"], ["paper", "ada"])
    trial = client.put(f"{V1}/studies/study/trials/3/note", json={"text": "odd"}).json()
    assert (trial["number"], trial["note"], trial["tags"]) == (3, "odd", [])
    page = client.get("/studies/study").text
    assert "for the &lt;b&gt;paper" in page
    form = {"text": "even", "tags": "a, b"}
    assert client.post("/studies/study/trials/3/note", data=form).url.path.endswith("/trials/3")
    assert client.get(f"{V1}/studies/study/trials/3").json()["tags"] == ["a", "b"]
    archive = tmp_path / "s.gz"
    with Store(settings.storage) as store:
        write_archive(store, "study", archive)
        restore_archive(store, archive, "again")
        assert store.notes("again") == store.notes("study")
        assert len(store.notes("study")) == 2
    assert client.get(f"{V1}/studies/again").json()["note"] == noted["text"]


@pytest.mark.parametrize(
    ("place", "asked", "status"),
    [
        ("study/note", {"text": "x" * 10_001}, 422),
        ("study/note", {"tags": ["two words"]}, 422),
        ("study/note", {"tags": ["x"] * 21}, 422),
        ("study/note", {"words": "x"}, 422),
        ("none/note", {"text": "x"}, 404),
        ("study/trials/99/note", {"text": "x"}, 404),
    ],
)
def test_what_cannot_be_noted_is_told(
    client: TestClient, place: str, asked: dict[str, object], status: int
) -> None:
    assert client.put(f"{V1}/studies/{place}", json=asked).status_code == status


def test_a_study_gets_another_name_with_all_that_belongs_to_it(
    settings: Settings, client: TestClient
) -> None:
    files = DriverFiles(settings.folder, settings.storage)
    files.folder.mkdir(exist_ok=True)
    ended = Driver("half", 2**22 - 1, 1, "2030-01-01T00:00:00+00:00", exit_code=1)
    files.write(ended)
    files.log("half").write_text("error: of the old name")
    with client_of(settings) as again:  # a service that finds the note
        again.put(f"{V1}/studies/half/note", json={"text": "mine"})
        for new, status in (("study", 409), ("../up", 422), ("a b", 422)):
            answer = again.post(f"{V1}/studies/half/rename", json={"name": new})
            assert answer.status_code == status, new
        found = again.post(f"{V1}/studies/half/rename", json={"name": "other"}).json()
        assert (found["name"], found["note"], found["finished"]) == ("other", "mine", 1)
        assert found["message"] == "of the old name"
        assert again.get(f"{V1}/studies/half").status_code == 404
        assert [one["name"] for one in again.get(f"{V1}/studies").json()["items"]] == [
            "other",
            "study",
        ]
        assert again.get(f"{V1}/audit").json()["items"][0]["more"] == "now other"
        assert again.post("/studies/other/rename", data={"name": "last"}).url.path.endswith("last")
    assert DriverFiles(settings.folder, settings.storage).notes()["last"].study == "last"


def test_studies_are_found_among_many(client: TestClient) -> None:
    client.put(f"{V1}/studies/half/note", json={"text": "Too SMALL", "tags": ["todo"]})

    def names(**query: str | int) -> list[str]:
        answer = client.get(f"{V1}/studies", params=query)
        assert answer.status_code == 200, answer.text
        return [one["name"] for one in answer.json()["items"]]

    assert names() == ["half", "study"]
    assert names(search="small") == names(tag="todo") == names(state="interrupted") == ["half"]
    assert names(search="STUDY finished") == ["study"]
    assert names(search="nothing") == []
    assert names(sort="name") == names(sort="finished") == ["half", "study"]
    assert names(sort="-hypervolume") == names(sort="created") == ["study", "half"]
    assert names(sort="name", offset=1, limit=1) == ["study"]
    wrong = client.get(f"{V1}/studies", params={"sort": "beauty"})
    assert (wrong.status_code, "hypervolume" in wrong.text) == (422, True)
    assert client.get("/?state=odd").status_code == 422
    page = client.get("/?search=small&sort=name").text
    assert 'aria-sort="ascending"' in page
    assert "/studies/half" in page
    assert "/studies/study" not in page


def test_a_page_beyond_the_last_is_the_last(client: TestClient) -> None:
    assert "/studies/study" in client.get("/?page=999").text
    assert "page 1 of" not in client.get("/?page=999").text
    table = client.get("/studies/study/table?show=all&page=50").text
    assert "/trials/11" in table
