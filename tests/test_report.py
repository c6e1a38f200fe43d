"""The report: one file, everything said, nothing that a name could break."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from isoshare.search.config import make_config
from isoshare.search.pareto import knee
from isoshare.search.results.reports.report import (
    in_lines,
    launch_command,
    study_report,
    write_report,
)
from isoshare.search.results.study_results import Results, load_results
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import PlanFile
from isoshare.storage.store import Store
from isoshare.storage.study_values import StudyConfig
from tests.fakes import Command, MakeEngine
from tests.test_architecture import modules_after


def test_the_report_says_what_was_found(results: Results) -> None:
    report = study_report(results)
    chosen = knee(results.front)
    assert report.trial == chosen.number
    assert [row.number for row in report.rows] == [t.number for t in results.front.members]
    assert [row.number for row in report.rows if row.chosen] == [chosen.number]
    assert all(len(row.cells) == len(report.columns) for row in report.rows)
    assert report.picture.shared == chosen.value("parameters")
    assert f"{chosen.value('parameters'):,} of 210 parameters" in report.answer
    assert PlanFile.parse(report.plan).plan == chosen.plan
    assert {"data", "evaluator", "seeds", "device", "versions"} <= set(report.conditions)
    assert any("test images were used once" in line for line in report.caveats)
    assert any("validation accuracy" in line for line in report.caveats)
    off = next(t for t in results.finished if t not in results.front.members)
    beside = study_report(results, off)
    assert [row.number for row in beside.rows if row.chosen] == [off.number]


def test_the_page_stands_alone_and_escapes_names(results: Results, tmp_path: Path) -> None:
    hostile = replace(results.study, name="<script>alert(1)</script>")
    write_report(replace(results, study=hostile), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in re.sub(r"<script.*?</script>\s*<div", "", page, flags=re.DOTALL)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert [path.name for path in tmp_path.iterdir() if "r.html" in path.name] == ["r.html"]
    (embedded,) = re.findall(r"<pre>(\{.*?)</pre>", page, flags=re.DOTALL)
    assert PlanFile.parse(unescape(embedded)).plan == knee(results.front).plan
    for said in study_report(results).caveats:
        assert said in unescape(page)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backbone": "resnet_cifar", "backbone_arg": {"depth": 14, "width": 4}, "compile": True},
        {"methods": ("kernel", "anchored"), "objectives": ("accuracy", "bytes"), "subset": 100},
        {"dataset": "folder:/a b/c", "max_parameters": 5000, "min_accuracy": 0.5, "trials": 7},
        {"evaluator": "inherit", "pretrain_epochs": 3},
        {"epochs": 9, "rungs": (1, 3)},
    ],
)
def test_its_first_command_is_the_same_search(results: Results, options: dict[str, Any]) -> None:
    config = make_config({**options, "workers": 1})
    study = replace(results.study, name="my study", config=StudyConfig.read(config.document()))
    words = shlex.split(launch_command(study))[2:]
    given: dict[str, Any] = {"backbone_arg": {}, "workers": 1}
    while words:
        key = words.pop(0).removeprefix("--").replace("-", "_")
        if key == "compile":
            given[key] = True
        elif key == "backbone_arg":
            name, _, value = words.pop(0).partition("=")
            given[key][name] = int(value)
        elif key in ("methods", "objectives", "rungs"):
            given[key] = tuple(words.pop(0).split(","))
        else:
            given[key] = words.pop(0)
    assert given["study"] == "my study"
    assert make_config(given).document() == config.document()


def test_long_commands_are_broken_where_a_shell_goes_on() -> None:
    command = shlex.join(["isoshare", "launch", "--study", "a b", *("--option", "value") * 12])
    typed = in_lines(command)
    assert max(map(len, typed.splitlines())) <= 98
    assert shlex.split(typed.replace("\\\n", "")) == shlex.split(command)
    assert in_lines("isoshare reproduce plan.json") == "isoshare reproduce plan.json"


def test_the_command_writes_it_without_torch(
    command: Command, small_search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{small_search / 'isoshare.db'}"
    asked = ("report", "s", "-o", f"{tmp_path / 'r.html'}", "--storage", database)
    code = f"import sys; sys.argv = {['isoshare', *asked]!r}\nimport run_search\n"
    code += "try: run_search.main()\nexcept SystemExit as end: assert not end.code, end.code"
    assert not modules_after(code) & {"torch", "ray", "torchvision"}
    assert "plotly" in (tmp_path / "r.html").read_text()
    assert command(*asked, "--trial", 0)[0] == 0
    code_, _, err = command(*asked, "--trial", 77)
    assert (code_, "trial 77 is not among" in err) == (2, True)
    code_, _, err = command("report", "s", "-o", "/no/such/r.html", "--storage", database)
    assert (code_, "cannot write /no/such/r.html" in err) == (2, True)


def test_a_study_without_a_front_is_refused(make_engine: MakeEngine, store: Store) -> None:
    make_engine()
    with pytest.raises(IsoshareError, match="no trial has finished yet"):
        study_report(load_results(store, "study"))
