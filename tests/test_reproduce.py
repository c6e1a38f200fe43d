"""Training an exported plan again: the same bits here, noise told from difference elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isoshare.search.workflows.reproduce import compare, prepare_reproduction
from isoshare.space.plan import PlanFile
from tests.fakes import Command


@pytest.fixture
def plan(
    command: Command, small_search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The plan of a trial that is on the front, so that it was measured on both parts."""
    monkeypatch.setenv("ISOSHARE_STORAGE", f"sqlite:///{small_search / 'isoshare.db'}")
    monkeypatch.chdir(tmp_path)
    assert command("export", "s", "-o", "plan.json")[0] == 0
    return tmp_path / "plan.json"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_the_same_machine_gives_the_same_bits(command: Command, plan: Path) -> None:
    code, out, err = command("reproduce", plan, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["verdict"], found["changed"]) == ("bit-equal", [])
    rows = {(row["objective"], row["split"]): row for row in found["objectives"]}
    assert set(rows) == {("parameters", "-"), ("accuracy", "validation"), ("accuracy", "test")}
    for row in rows.values():
        assert row["recorded"] == row["reproduced"]
    assert rows["accuracy", "test"]["seeds"] == 2
    assert "epoch 1/1, accuracy" in err


def test_what_differs_beyond_noise_is_told_with_exit_code_1(command: Command, plan: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        for one in document["measured"]:
            if one["split"] == "validation":
                one["value"] = 0.999 + one["seed"] / 1e6
        document["provenance"]["conditions"]["torch"] = "1.0"

    change(plan, edit)
    code, out, _ = command("reproduce", plan)
    assert code == 1
    assert "differs" in out
    assert "bit-equal" in out  # the test part
    assert "torch 1.0 →" in out


def test_other_data_are_told_first_and_nothing_is_trained(command: Command, plan: Path) -> None:
    change(plan, lambda doc: doc["provenance"]["dataset"].update(fingerprint="0" * 16))
    code, out, err = command("reproduce", plan)
    assert (code, out) == (2, "")
    assert "is not what the plan was measured on" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda doc: doc["provenance"].pop("config"), "does not say how it was measured"),
        (lambda doc: doc.pop("backbone"), "does not say how it was measured"),
        (lambda doc: doc.update(measured=[]), "holds no measurement of its search"),
        (lambda doc: doc["provenance"]["config"].update(epochs=9), "holds no measurement"),
        (lambda doc: doc["provenance"]["config"].update(dataset="cats"), "unknown data set 'cats'"),
    ],
)
def test_files_that_say_too_little_are_refused(
    command: Command, plan: Path, edit: Callable[[dict[str, Any]], object], says: str
) -> None:
    change(plan, edit)
    code, _, err = command("reproduce", plan)
    assert (code, says in err) == (2, True), err


def test_a_full_training_is_no_measurement_of_the_search(command: Command, plan: Path) -> None:
    before = prepare_reproduction(plan).recorded
    assert command("train", plan, "--epochs", 1, "-o", "net.safetensors")[0] == 0
    assert command("export", "net.safetensors", "-o", "trained.json")[0] == 0
    assert len(PlanFile.load("trained.json").measured) == len(PlanFile.load(plan).measured) + 1
    assert prepare_reproduction(Path("trained.json")).recorded == before


def test_verdicts() -> None:
    recorded = {0: 0.90, 1: 0.92, 2: 0.91}

    def verdict(values: dict[int, float], objective: str = "accuracy") -> str:
        some = {seed: recorded[seed] for seed in values}
        return compare(objective, "validation", some, values, images=100).verdict

    assert verdict(dict(recorded)) == "bit-equal"
    assert verdict({0: 0.90, 1: 0.92, 2: 0.91 + 1e-9}) == "within noise"
    assert verdict({0: 0.93, 1: 0.92, 2: 0.90}) == "within noise"
    assert verdict({0: 0.80, 1: 0.82, 2: 0.81}) == "differs"
    assert verdict({0: 0.95, 1: 0.97, 2: 0.96}) == "differs"  # better is different too
    assert verdict({0: 0.85}) == "within noise"  # of 100 images
    assert verdict({0: 0.60}) == "differs"
    assert verdict({0: 0.91}, "spikes") == "within noise"
    assert verdict({0: 0.99}, "spikes") == "differs"
