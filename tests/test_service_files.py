"""Files of the service and of its database: gone, broken, read-only, or on a full disk."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from isoshare.search.service import server
from isoshare.search.service.runs import driver_files
from isoshare.search.service.runs.one_service import alone_in
from isoshare.search.service.settings import Settings, make_settings
from isoshare.search.service.studies import known_studies
from isoshare.search.workflows.administration.archive import write_archive
from isoshare.space.errors import IsoshareError
from isoshare.storage.opening.database import StoreError
from isoshare.storage.store import Store
from tests.fakes import Command
from tests.service_fakes import client_of, searched, settings_of

V1 = "/api/v1"
NOBODY = 65534


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_of(tmp_path)
    searched(made)
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with client_of(settings) as made:
        yield made


def test_a_database_that_vanishes_and_comes_back_is_told(
    settings: Settings, client: TestClient, tmp_path: Path
) -> None:
    file = tmp_path / "test.db"
    assert client.get(f"{V1}/health").status_code == 200
    client.app.state.studies._store.close()  # type: ignore[attr-defined]
    file.rename(tmp_path / "away.db")
    answer = client.get(f"{V1}/health")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert "is gone" in client.get("/").text
    answer = client.get(f"{V1}/studies/study/front")
    assert (answer.status_code, "is gone" in answer.text) == (503, True)
    assert client.post(f"{V1}/studies", json={"dataset": "digits"}).status_code == 503
    assert not file.exists()
    shutil.copy(tmp_path / "away.db", file)
    assert client.get(f"{V1}/health").json() == {"status": "ok"}
    assert [one["name"] for one in client.get(f"{V1}/studies").json()["items"]] == ["study"]
    assert "is gone" not in client.get("/").text


def test_a_database_that_nothing_was_written_to_is_healthy(tmp_path: Path) -> None:
    with client_of(settings_of(tmp_path)) as client:
        assert client.get(f"{V1}/health").status_code == 200


@contextmanager
def read_only(*files: Path) -> Iterator[Path]:
    """A copy of files in a folder that this process may not write into."""
    folder = Path(tempfile.mkdtemp(prefix="read-only-"))
    for file in files:
        shutil.copy(file, folder)
    folder.chmod(0o555)
    as_root = os.geteuid() == 0  # who may write everywhere
    try:
        if as_root:
            os.seteuid(NOBODY)
        assert not os.access(folder, os.W_OK, effective_ids=True)
        yield folder
    finally:
        if as_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_what_lies_in_a_read_only_folder_is_read_and_not_written(
    settings: Settings, tmp_path: Path
) -> None:
    with Store(settings.storage) as store:
        known = store.trials("study")
    assert not (tmp_path / "test.db-wal").exists()
    with read_only(tmp_path / "test.db") as folder, Store(f"sqlite:///{folder}/test.db") as store:
        assert store.trials("study") == known
        with pytest.raises(StoreError, match="readonly"):
            store.delete_study("study")
        assert [file.name for file in folder.iterdir()] == ["test.db"]


def test_what_a_search_is_writing_can_be_read_in_a_folder_that_is_read_only(
    settings: Settings, tmp_path: Path
) -> None:
    with Store(settings.storage) as store:
        store.fail_trial("study", 3, "told later")  # it stands in the log beside the file
        files = [tmp_path / f"test.db{end}" for end in ("", "-wal", "-shm")]
        with read_only(*files) as folder, Store(f"sqlite:///{folder}/test.db") as reader:
            assert reader.trials("study")[3].error == "told later"


def test_an_archive_is_read_as_a_database_is(
    settings: Settings, tmp_path: Path, command: Command
) -> None:
    archive = tmp_path / "study.gz"
    with Store(settings.storage) as store:
        write_archive(store, "study", archive)
    storage = ["--storage", archive]
    code, said, _ = command("pareto", "study", *storage, "--json")
    assert (code, '"hypervolume"' in said) == (0, True)
    assert command("report", "study", "-o", tmp_path / "r.html", *storage)[0] == 0
    code, _, error = command("studies", "--delete", "study", "--yes", *storage)
    assert (code, "not a database URL" in error) == (2, True)
    with gzip.open(archive, "wb") as file:
        file.write(b"nothing")
    code, _, error = command("pareto", "study", *storage)
    assert (code, str(archive) in error, "Traceback" in error) == (2, True, False)


def test_a_service_that_only_shows(settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "study.gz"
    with Store(settings.storage) as store:
        write_archive(store, "study", archive)
    state = tmp_path / "state"
    given = {"host": "127.0.0.1", "port": 0, "searches": 1, "state": state, "read_only": True}
    with client_of(make_settings({**given, "storage": str(archive)})) as client:
        assert client.get(f"{V1}/studies/study").json()["finished"] == 12
        refused = client.post(f"{V1}/studies", json={"trials": 3})
        assert (refused.status_code, "--read-only" in refused.text) == (403, True)
        assert client.delete(f"{V1}/studies/study").status_code == 403
        assert "New search" not in client.get("/").text
    assert not state.exists()


def test_a_broken_note_is_set_aside_and_the_service_starts(tmp_path: Path) -> None:
    files = driver_files.DriverFiles(tmp_path, "sqlite:///x.db")
    files.folder.mkdir()
    whole = driver_files.Driver("whole", 1, 0, "2030-01-01T00:00:00+00:00")
    files.write(whole)
    for number, text in enumerate(["", '{"study": "ha', "[]", '{"study": 3}', '{"pid": "x"}']):
        files.note(f"broken {number}").write_text(text)
    (later,) = [files.note("broken 1")]
    again = driver_files.DriverFiles(tmp_path, "sqlite:///x.db")
    assert again.notes() == {"whole": whole}
    assert len(again.set_aside) == 5
    assert later.with_name(f"{later.name}.broken") in again.set_aside
    assert driver_files.DriverFiles(tmp_path, "sqlite:///x.db").notes() == {"whole": whole}


def test_a_second_service_with_the_same_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = list[Settings]()
    monkeypatch.setattr(server, "_serve", lambda settings, say: served.append(settings))
    settings = settings_of(tmp_path)
    others = (
        settings_of(tmp_path, read_only=True),
        settings_of(tmp_path / "own", storage=settings.storage),
        settings_of(tmp_path, storage="sqlite:///another.db"),
    )
    with alone_in(driver_files.DriverFiles(tmp_path, settings.storage).folder):
        with pytest.raises(IsoshareError, match=rf"service \(process {os.getpid()}\) .* --state"):
            server.serve(settings, print)
        for other in others:
            server.serve(other, print)
    server.serve(settings, print)
    assert served == [*others, settings]


def test_a_service_starts_where_it_can_write_no_lock(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    with alone_in(file / "state"):
        assert file.is_file()


def test_a_full_disk_under_the_state_folder_is_told_and_starts_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")  # whatever is written here finds no room
    if not full.exists():
        pytest.skip("no /dev/full")

    def write(self: driver_files.DriverFiles, study: str) -> Path:
        return full

    with client_of(settings) as client:
        monkeypatch.setattr(driver_files.DriverFiles, "options", write)
        monkeypatch.setattr(driver_files, "atomic_write", contextmanager(_same))
        answer = client.post(f"{V1}/studies", json={"study": "mine", "trials": 3})
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
        assert "No space left on device" in answer.text
        assert client.get(f"{V1}/studies").json()["total"] == 1


def _same(path: Path) -> Iterator[Path]:
    yield path


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e30", "x", "1" * 400])
@pytest.mark.parametrize(
    "place", ["/studies/study/pick?max_parameters={}", "/studies/study/pick?min_accuracy={}"]
)
def test_odd_numbers_in_addresses_are_told(client: TestClient, place: str, number: str) -> None:
    answer = client.get(place.format(number), follow_redirects=False)
    assert answer.status_code in (404, 422), number
    both = f"/compare?a=study&b=study&trial_a={number}&trial_b=0"
    assert client.get(both).status_code in (404, 422)


def test_a_search_that_goes_on_has_the_bounds_of_a_new_one(
    settings: Settings, client: TestClient
) -> None:
    for name, value in (("trials", 10**7), ("workers", 10**4), ("trials", 2**31)):
        answer = client.post(f"{V1}/studies/study/resume", json={name: value})
        assert answer.status_code in (403, 422), answer.text
        assert name in answer.text


def test_a_database_that_has_just_come_back_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look at it was while it was away, and the next one is not due yet."""
    now = [1000.0]
    monkeypatch.setattr(known_studies, "time", SimpleNamespace(monotonic=lambda: now[0]))
    settings = settings_of(tmp_path, max_age=1.0)
    searched(settings)
    file, elsewhere = tmp_path / "test.db", tmp_path / "elsewhere.db"
    with client_of(settings) as client:
        assert client.get(f"{V1}/studies/study").status_code == 200
        file.rename(elsewhere)
        now[0] += 5
        assert client.get(f"{V1}/studies/study").status_code == 503
        elsewhere.rename(file)
        assert client.get(f"{V1}/health").status_code == 200
        assert client.get(f"{V1}/studies/study").status_code == 200
        assert client.get(f"{V1}/studies/no-such").status_code == 404
