"""What a study gives out: choices, plan files, tables, JSON and pictures."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from isoshare.search.pareto import knee
from isoshare.search.results.choose import choose, plan_file, trial_by_number
from isoshare.search.results.describe import plan_in_short, plan_in_words, with_error
from isoshare.search.results.pictures.drawing import write_png
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.front_page import write_html
from isoshare.search.results.study_results import Results, load_results
from isoshare.search.results.tables import front_json, front_table
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.storage.store import Store
from tests.fakes import MakeEngine, space_of


def test_choices_keep_their_promise(results: Results) -> None:
    front = results.front
    sizes = [trial.exact["parameters"] for trial in front.members]
    accuracies = [trial.value("accuracy") for trial in front.members]
    assert sizes == sorted(sizes)
    assert len(sizes) > 2
    assert choose(front) == choose(front, "knee") == knee(front)
    assert choose(front, "smallest") == front.members[0]
    assert choose(front, "accuracy").value("accuracy") == max(accuracies)  # type: ignore[type-var]
    assert choose(front, max_parameters=int(sizes[1])) == front.members[1]
    assert choose(front, min_accuracy=accuracies[1]) == front.members[1]
    assert choose(front, "smallest", max_parameters=int(sizes[1])) == front.members[0]


def test_what_no_plan_fulfils_is_refused_with_what_there_is(
    results: Results,
) -> None:
    front = results.front
    smallest = f"{front.members[0].exact['parameters']:,} parameters or more"
    with pytest.raises(IsoshareError, match=f"at most 5 parameters: they have {smallest}"):
        choose(front, max_parameters=5)
    with pytest.raises(IsoshareError, match=r"at least 1\.5 accuracy"):
        choose(front, min_accuracy=1.5)
    with pytest.raises(IsoshareError, match="trial 99 is not among the 12 finished"):
        trial_by_number(results, 99)


def test_the_plan_file_holds_the_trial(results: Results, tmp_path: Path) -> None:
    study, front = results.study, results.front
    trial = knee(front)
    plan_file(study, trial).save(tmp_path / "plan.json")
    file = PlanFile.load(tmp_path / "plan.json")
    assert file.plan == trial.plan
    assert file.parameters is not None
    assert file.parameters.shared == trial.exact["parameters"]
    measured = [m.value for m in file.measured if m.split == "validation"]
    assert sum(measured) / len(measured) == pytest.approx(trial.value("accuracy"))
    assert {m.split for m in file.measured} == {"validation", "test"}
    assert file.provenance["fingerprint"] == trial.plan.fingerprint
    assert file.provenance["dataset"]["fingerprint"] == "0" * 16


def test_the_json_of_the_front_can_be_checked_by_others(
    results: Results,
) -> None:
    document = json.loads(json.dumps(front_json(results)))
    assert document["trials"] == 12
    assert document["failed"] == 0
    reference, volume = document["reference_point"], 0.0
    rows = [*document["front"], reference]
    for row, following in pairwise(rows):
        volume += row["accuracy"] * (following["parameters"] - row["parameters"])
        plan = PlanFile.parse(json.dumps(row["plan"])).plan
        assert plan.fingerprint == row["fingerprint"]
    assert document["hypervolume"] == pytest.approx(volume)


def test_plans_in_words() -> None:
    space = space_of(5)
    full = space.fully_shared_plan()
    assert plan_in_words(full, space.sites) == "1 kernel for 5 sites 2→2 3x3"
    assert plan_in_short(full, space.sites) == "2→2 3x3 1/5"
    assert plan_in_words(SharingPlan(), space.sites) == "unshared"
    assert plan_in_short(SharingPlan(), space.sites) == "unshared"


def test_values_have_their_error_bar(results: Results) -> None:
    trial = results.front.members[0]
    assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3}", with_error(trial, "accuracy"))
    assert with_error(trial, "parameters") == f"{trial.exact['parameters']:,}"
    assert with_error(trial, "latency") == "-"


def test_the_table_has_a_row_for_each_member(results: Results) -> None:
    table = front_table(results)
    assert table.row_count == len(results.front.members)
    assert [str(column.header) for column in table.columns][:4] == [
        "trial",
        "accuracy",
        "parameters",
        "on test",
    ]


def test_the_picture_shows_every_trial_once_and_both_references(
    results: Results,
) -> None:
    study, front = results.study, results.front
    figure = front_figure(results)
    assert len(figure.others) + len(figure.members) == 12
    assert {point.label for point in figure.references} == {"unshared network", "fully shared"}
    unshared = next(point for point in figure.references if point.label == "unshared network")
    assert unshared.x == space_of(5).unshared
    assert list(figure.staircase[::2]) == [(p.x, p.y) for p in figure.members]
    knee_point = next(p for p in figure.members if f"trial {knee(front).number}<" in p.hover)
    words = plan_in_words(knee(front).plan, study.context.sites)
    assert words in knee_point.hover
    assert knee_point.error > 0


def test_the_html_needs_no_network(results: Results, tmp_path: Path) -> None:
    write_html(front_figure(results), tmp_path / "front.html")
    text = (tmp_path / "front.html").read_text()
    assert "unshared network" in text
    assert not re.search(r"<(script|link)[^>]+(src|href)=", text)


def test_the_png_is_a_picture(results: Results, tmp_path: Path) -> None:
    write_png(front_figure(results), tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_an_unfinished_study_can_be_drawn(
    make_engine: MakeEngine, store: Store, tmp_path: Path
) -> None:
    make_engine()
    results = load_results(store, "study")
    write_html(front_figure(results), tmp_path / "front.html")
    write_png(front_figure(results), tmp_path / "front.png")
    assert front_table(results).row_count == 0
    assert results.study.context.sites == space_of(5).sites
