"""One rule for names of studies, wherever a study comes from; older ones stay within reach."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from isoshare.search.config import SearchConfig, make_config
from isoshare.search.study_names import LONGEST, check_name, free_name
from isoshare.search.workflows.administration.archive import write_archive
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store
from tests.service_fakes import client_of, half_searched, settings_of

Command = Callable[..., tuple[int, str, str]]
V1 = "/api/v1"
GOOD = ["a", "digits-resnet_cifar-1", "7.b", "A" * LONGEST]
OTHERS = ["a b", "a?b", "a#b", "50%", "ä", "日本", "-x", "a&b", "a;b", "a\\b", '"quoted"']
"""Names that no new study may have, but that an address can hold when they are quoted."""
BAD = [*OTHERS, "%2F", "", "a/b", "/", ".", "..", ".hidden", "a\nb", "a\0b", "A" * (LONGEST + 1)]


@pytest.mark.parametrize("name", GOOD)
def test_good_names_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_with_the_rule_and_the_name(name: str) -> None:
    with pytest.raises(IsoshareError, match="a study name has letters") as refused:
        check_name(name)
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "digits-resnet_cifar-1"),
        ({"dataset": "folder:/data/Bäume am Weg"}, "B-ume-am-Weg-resnet_cifar-1"),
        ({"dataset": "folder:/data/日本", "backbone": "m:_net"}, "net-1"),
        ({"dataset": "folder:/", "backbone": f"m:{'x' * 200}"}, f"{'x' * (LONGEST - 10)}-1"),
    ],
)
def test_a_name_that_is_made_up_keeps_the_rule(given: dict[str, str], name: str) -> None:
    config = SearchConfig(**given)  # type: ignore[arg-type]
    assert check_name(free_name([], config.dataset, config.backbone)) == name
    assert free_name([name], config.dataset, config.backbone) == f"{name.removesuffix('1')}2"


def test_the_command_line_and_the_service_refuse_them_before_anything_is_made(
    command: Command, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    simulated = ("--driver", "simulate", "--table", "sharebench-digits", "--trials", 2)
    for given in (simulated, ("--dataset", "digits")):
        code, _, said = command("launch", *given, "--storage", url, "--study", "a/b")
        assert code == 2
        assert "a study name has letters" in said
        assert "'a/b'" in said
    with client_of(settings_of(tmp_path)) as client:
        for name in BAD:
            refused = client.post(f"{V1}/studies", json={"study": name})
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid")
    assert not (tmp_path / "test.db").exists()


def test_an_older_study_is_within_reach_under_any_name(command: Command, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for name in (*OTHERS, "a/b", ".."):
        half_searched(settings, name)
    with client_of(settings) as client:
        assert client.get(f"{V1}/studies").json()["total"] == len(OTHERS) + 2
        for name in OTHERS:
            here = f"/studies/{quote(name, safe='')}"
            assert client.get(f"{V1}{here}").json()["name"] == name
            for page in (here, f"{here}/trials/0", f"{here}/table", f"{V1}{here}/trials/0/plan"):
                assert client.get(page).status_code == 200, page
        links = re.findall(r'href="(/studies/[^"]+)"', client.get("/").text)
        assert {client.get(link).status_code for link in links} == {200}
        assert client.get("/").text.count("use the command line") == 2
    code, out, _ = command("pareto", "--json", "--storage", settings.storage, "--", "a/b")
    assert (code, json.loads(out)["study"]) == (0, "a/b")


def test_a_study_is_restored_under_a_name_that_is_allowed(command: Command, tmp_path: Path) -> None:
    settings, archive = settings_of(tmp_path), tmp_path / "study.gz"
    half_searched(settings, "a/b")
    store = Store(settings.storage)
    write_archive(store, "a/b", archive)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    restore = ("studies", "--restore", archive, "--storage", other)
    code, _, said = command(*restore)
    assert (code, "--as NAME" in said, "'a/b'" in said) == (2, True, True)
    assert not (tmp_path / "other.db").exists()
    assert command(*restore, "--as", "ab")[0] == 0
    there = Store(other)
    assert there.trials("ab") == store.trials("a/b")
    assert command(*restore, "--as", "ab")[0] == 2  # the name is taken
    assert command("studies", "--as", "x", "--storage", other)[0] == 2
    for one in (store, there):
        one.close()
    assert make_config({"study": "a/b"}).study == "a/b"  # what is there already can go on
