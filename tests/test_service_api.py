"""The REST API on a real database: what it answers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from isoshare.search.cli import main as cli
from isoshare.search.results.study_results import load_results
from isoshare.search.results.tables import front_json
from isoshare.search.service.app import make_app
from isoshare.search.service.runs.launching import THE_SERVERS
from isoshare.search.service.settings import Settings
from isoshare.search.workflows.administration.archive import restore_archive, write_archive
from isoshare.search.workflows.inspect import inspect_backbone
from isoshare.storage.change_feed import WatchedStore
from isoshare.storage.store import Store
from tests.postgresql import Server
from tests.service_fakes import (
    client_of,
    searched,
    settings_of,
    two_studies,
    without_time,
)

V1 = "/api/v1"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return two_studies(tmp_path_factory.mktemp("service"), searches=0)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with client_of(settings) as made:
        yield made


def test_health_answers(client: TestClient) -> None:
    assert client.get(f"{V1}/health").json() == {"status": "ok"}


def test_studies_are_listed_page_by_page_with_their_states(client: TestClient) -> None:
    page = client.get(f"{V1}/studies").json()
    assert [(one["name"], one["state"]) for one in page["items"]] == [
        ("half", "interrupted"),
        ("study", "finished"),
    ]
    second = client.get(f"{V1}/studies", params={"offset": 1, "limit": 1}).json()
    assert second["total"] == 2
    assert second["items"] == page["items"][1:]
    half = page["items"][0]
    assert (half["finished"], half["failed"], half["stopped"], half["running"]) == (1, 1, 1, 0)
    assert half["budget"] == 12


def test_the_front_is_what_the_command_line_prints(client: TestClient, settings: Settings) -> None:
    store = WatchedStore(settings.storage)
    expected = json.loads(json.dumps(front_json(load_results(store, "study"))))
    store.close()
    assert client.get(f"{V1}/studies/study/front").json() == expected
    assert expected["front"]


def test_a_study_names_its_best_plan_and_its_conditions(client: TestClient) -> None:
    study = client.get(f"{V1}/studies/study").json()
    front = client.get(f"{V1}/studies/study/front").json()
    assert study["front_size"] == len(front["front"])
    assert study["hypervolume"] == pytest.approx(front["hypervolume"])
    assert study["best"]["trial"] in [member["trial"] for member in front["front"]]
    assert study["config"]["trials"] == 12


def test_trials_are_sorted_chosen_and_paged(client: TestClient) -> None:
    def numbers(**query: str | int) -> list[int]:
        answer = client.get(f"{V1}/studies/study/trials", params=query)
        return [row["number"] for row in answer.json()["items"]]

    assert numbers(limit=500) == list(range(12))
    assert numbers(limit=3, offset=4) == [4, 5, 6]
    assert numbers(sort="-number")[0] == 11
    rows = client.get(f"{V1}/studies/study/trials", params={"sort": "-accuracy"}).json()["items"]
    accuracies = [row["values"]["accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    front = {row["number"] for row in rows if row["on_front"]}
    assert set(numbers(on_front=True)) == front
    assert all(row["test"] for row in rows if row["on_front"])
    assert numbers(state="failed") == []
    wrong = client.get(f"{V1}/studies/study/trials", params={"sort": "beauty"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid")
    assert "accuracy" in wrong.json()["error"]["message"]


def test_a_trial_has_its_measurements(client: TestClient) -> None:
    trial = client.get(f"{V1}/studies/half/trials/2").json()
    assert trial["state"] == "stopped"
    (measured,) = trial["measurements"]
    assert measured["stored"] is not None
    assert measured["values"]["accuracy"] == trial["values"]["accuracy"]
    assert client.get(f"{V1}/studies/half/trials/1").json()["error"].startswith("the loss")


def test_an_exported_plan_is_the_one_of_the_command_line(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    def exported(*chosen: str) -> dict[str, object]:
        file = tmp_path / "plan.json"
        line = ["export", "study", "--storage", settings.storage, "-o", str(file), *chosen]
        cli.app(line, standalone_mode=False)
        return without_time(json.loads(file.read_text()))

    number = client.get(f"{V1}/studies/study").json()["best"]["trial"]
    plan = client.get(f"{V1}/studies/study/trials/{number}/plan")
    assert plan.headers["content-disposition"] == f'attachment; filename="study-{number}.json"'
    assert without_time(plan.json()) == exported("--trial", str(number)) == exported()
    for key, value in (("best", "smallest"), ("max_parameters", "180"), ("min_accuracy", "0.8")):
        answer = client.get(f"{V1}/studies/study/export", params={key: value})
        option = f"--{key.replace('_', '-')}={value}"
        assert without_time(answer.json()) == exported(option)


def test_the_hypervolume_grows_to_that_of_the_front(client: TestClient) -> None:
    moments = client.get(f"{V1}/studies/study/hypervolume").json()["moments"]
    volumes = [moment["hypervolume"] for moment in moments]
    assert volumes == sorted(volumes)
    assert volumes[-1] == client.get(f"{V1}/studies/study/front").json()["hypervolume"]
    assert moments[-1]["finished"] == 12


def test_the_figure_has_every_trial_once_and_marks_the_stopped(client: TestClient) -> None:
    def numbers(name: str, *, references: bool) -> list[int]:
        traces = client.get(f"{V1}/studies/{name}/figure").json()["front"]["traces"]
        chosen = [trace for trace in traces if (trace["name"] == "references") == references]
        return sorted(number for trace in chosen for number in trace.get("customdata", []))

    assert numbers("study", references=False) == list(range(12))
    assert 0 in numbers("study", references=True)
    traces = client.get(f"{V1}/studies/half/figure").json()["front"]["traces"]
    assert next(t for t in traces if t["name"] == "stopped early")["customdata"] == [2]


def test_two_fronts_share_one_picture(client: TestClient) -> None:
    found = client.get(f"{V1}/compare", params={"a": "study", "b": "half"}).json()
    assert {trace["name"] for trace in found["front"]["traces"]} >= {"study", "half"}


def test_banks_are_counted_as_the_whole_plan_is(client: TestClient) -> None:
    study = client.get(f"{V1}/studies/study").json()
    number = client.get(f"{V1}/studies/study/export", params={"best": "smallest"}).json()
    trial = number["provenance"]["trial"]
    banks = client.get(f"{V1}/studies/study/trials/{trial}/counts").json()["banks"]
    saved = sum(bank["unshared"] - bank["shared"] for bank in banks)
    assert saved == study["unshared"] - number["parameters"]["shared"] > 0


def test_a_backbone_is_inspected_in_another_process(client: TestClient) -> None:
    asked = {"backbone": "resnet_cifar", "arguments": {"depth": 8, "width": 2}}
    found = client.post(f"{V1}/inspect", json=asked).json()
    expected = inspect_backbone("resnet_cifar", {"depth": 8, "width": 2})
    assert found == json.loads(json.dumps(expected))
    wrong = client.post(f"{V1}/inspect", json={"backbone": "resnet_cifar", "arguments": {"x": 1}})
    assert wrong.status_code == 422
    assert "depth" in wrong.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/studies/none", 404, "not_found"),
        ("GET", "/studies/none/front", 404, "not_found"),
        ("GET", "/studies/study/trials/99", 404, "not_found"),
        ("GET", "/studies/half/trials/1/plan", 404, "not_found"),
        ("GET", "/studies/study/export?max_parameters=1", 404, "not_found"),
        ("GET", "/studies/study/export?max_parameters=x", 422, "invalid"),
        ("GET", "/studies?limit=0", 422, "invalid"),
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/studies", 405, "method_not_allowed"),
        ("POST", "/studies/study/stop", 409, "conflict"),
        ("POST", "/studies/none/resume", 404, "not_found"),
        ("POST", "/studies/half/resume", 409, "conflict"),
        ("DELETE", "/studies/none", 404, "not_found"),
    ],
)
def test_refusals_have_one_shape(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, f"{V1}{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert len(answer.json()["error"]["message"]) > 20


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"trials": 0}, 422, "trials"),
        ({"methods": ["origami"]}, 422, "choose one of"),
        ({"sampler": "oracle"}, 422, "tpe"),
        ({"study": "../up"}, 422, "study name"),
        ({"study": "study"}, 409, "exists already"),
        ({"backbone": "os:system"}, 403, "not on the list"),
        ({"dataset": "folder:/etc"}, 403, "not on the list"),
        ({"backbone_arg": {"depth=1": 2}}, 422, "backbone_arg"),
        ({"backbone_arg": {"depth": "a\u0000b"}}, 422, "backbone_arg"),
        ({"trials": 3}, 409, "at most 0"),
        *(({key: "x"}, 422, "extra") for key in THE_SERVERS),
    ],
)
def test_a_launch_is_refused_with_its_reason(
    client: TestClient, asked: dict[str, object], status: int, said: str
) -> None:
    answer = client.post(f"{V1}/studies", json=asked)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"].lower()
    assert client.get(f"{V1}/studies").json()["total"] == 2


READS = ("", "/trials?sort=-accuracy", "/trials/0", "/trials/0/counts", "/front", "/figure")
PAGES = ("", "/facts", "/table?show=all&sort=state", "/pick?best=knee", "/trials/0")


def test_every_answer_on_postgresql_is_that_on_sqlite(
    settings: Settings, client: TestClient, postgresql: Server, tmp_path: Path
) -> None:
    other = settings_of(tmp_path, storage=postgresql.new_database())
    source, store = Store(settings.storage), Store(other.storage)
    for name in ("study", "half"):
        write_archive(source, name, tmp_path / name)
        restore_archive(store, tmp_path / name)
    store.close()
    source.close()
    addresses = ["/", "/compare?a=study&b=half", f"{V1}/studies", f"{V1}/studies/none"]
    for here in ("/studies/study", "/studies/half"):
        addresses += [f"{V1}{here}{end}" for end in (*READS, "/hypervolume", "/trials/99")]
        addresses += [f"{here}{end}" for end in PAGES]
    with client_of(other) as second:
        for address in addresses:
            one, two = client.get(address), second.get(address)
            assert one.status_code == two.status_code
            if address.startswith(V1):
                assert one.json() == two.json(), address
            else:
                assert one.text == two.text, address
        exported = [who.get(f"{V1}/studies/study/export").json() for who in (client, second)]
        assert without_time(exported[0]) == without_time(exported[1])
        assert second.delete(f"{V1}/studies/half").status_code == 204
        assert second.get(f"{V1}/studies").json()["total"] == 1


def test_a_deleted_study_is_gone_and_the_others_are_not(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for name in ("one", "two"):
        searched(settings, name, trials=3)
    with client_of(settings) as client:
        assert client.get(f"{V1}/studies/one").status_code == 200
        assert client.delete(f"{V1}/studies/one").status_code == 204
        assert client.get(f"{V1}/studies/one").status_code == 404
        assert client.get(f"{V1}/studies/two/front").json()["trials"] == 3
        searched(settings, "one", trials=2)
        assert client.get(f"{V1}/studies/one/front").json()["trials"] == 2


def test_events_tell_of_changes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    searched(settings, "one", trials=2)
    app = make_app(settings)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        app.state.hub.close()  # a stream ends after its first event
        answer = client.get(f"{V1}/studies/one/events")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "event: change" in answer.text
        assert '["one","finished",1]' in answer.text.replace(" ", "")


def test_pages_show_text_of_others_as_text(tmp_path: Path) -> None:
    settings, nasty = settings_of(tmp_path), "<script>alert('x')</script> \"&"
    searched(settings, nasty.replace("/", "|"), trials=2)
    with client_of(settings) as client:
        name = client.get(f"{V1}/studies").json()["items"][0]["name"]
        for page in ("/", f"/studies/{quote(name)}", f"/studies/{quote(name)}/trials/1"):
            answer = client.get(page)
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text
            assert "&lt;script&gt;alert" in answer.text
