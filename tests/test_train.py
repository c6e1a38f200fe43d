"""Training a chosen plan fully, as a user does: the command, the file, an interruption."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from isoshare import Bank, PlanError, SharingPlan, count_parameters, find_sites
from isoshare.evaluators.training import checkpoints
from isoshare.search.workflows.train import prepare_training, run_training
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import PlanFile
from isoshare.space.weights import load_network, read_plan

ROOT = Path(__file__).parent.parent
SMALL = {"depth": 8, "width": 4, "in_channels": 1, "classes": 10}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan file with its backbone."""
    sites = [
        s.name for s in find_sites(build_backbone("resnet_cifar", SMALL)) if s.in_channels == 4
    ]
    bank = Bank("anchored", {}, tuple(sites[:2]))
    backbone = {"name": "resnet_cifar", "arguments": SMALL}
    config = {"dataset": "digits", "batch_size": 32, "learning_rate": 0.05}
    PlanFile.of(SharingPlan((bank,)), backbone=backbone, provenance={"config": config}).save(
        tmp_path / "plan.json"
    )
    return tmp_path / "plan.json"


def command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "run_search.py"), "train", *words]


def test_a_plan_is_trained_tested_and_written(plan: Path) -> None:
    output = plan.parent / "net.safetensors"
    done = subprocess.run(
        command("plan.json", "--epochs", "4", "-o", str(output), "--json"),
        cwd=plan.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["test_accuracy"] > 0.9
    assert "epoch 4/4, loss" in done.stderr
    network = load_network(output)
    assert count_parameters(network) == found["parameters"]
    measured = read_plan(output).measured[-1]
    assert (measured.split, measured.value) == ("test", found["test_accuracy"])
    assert measured.fidelity == {"epochs": 4, "images": "all"}
    names = {path.name for path in plan.parent.iterdir()}
    assert names == {"plan.json", "net.safetensors"}


def test_settings_are_those_of_the_search_and_all_training_images_are_used(plan: Path) -> None:
    training = prepare_training(plan, plan.parent / "net.safetensors", "fresh", {})
    assert (training.config.batch_size, training.config.learning_rate) == (32, 0.05)
    assert training.config.epochs == 60
    assert len(training.evaluator.dataset.train) == 1437  # four fifths of 1,797
    changed = prepare_training(plan, plan.parent / "n", "fresh", {"batch_size": 16, "epochs": 3})
    assert (changed.config.batch_size, changed.config.epochs) == (16, 3)


@pytest.mark.parametrize("init", ["fresh", "inherit"])
def test_both_starts_work(plan: Path, init: Any) -> None:
    options = {"epochs": 2}
    training = prepare_training(plan, plan.parent / "net.safetensors", init, options)
    found = run_training(training, lambda *_: None)
    assert found["test_accuracy"] > (0.8 if init == "inherit" else 0.2)


def test_an_interrupted_training_goes_on_and_ends_the_same(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    heard: list[int] = []

    def interrupt(epoch: int, epochs: int, values: Any) -> None:
        heard.append(epoch)
        if heard == [1, 2, 3]:
            raise KeyboardInterrupt

    outputs = [plan.parent / name for name in ("whole.safetensors", "two.safetensors")]
    asked = [prepare_training(plan, output, "fresh", {"epochs": 5}) for output in outputs]
    run_training(asked[0], lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run_training(asked[1], interrupt)
    assert asked[1].checkpoint.exists()
    run_training(prepare_training(plan, outputs[1], "fresh", {"epochs": 5}), interrupt)
    assert heard == [1, 2, 3, 4, 5]
    one, two = (load_network(output).state_dict() for output in outputs)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not asked[1].checkpoint.exists()


def test_requests_that_cannot_be_carried_out_are_refused(plan: Path, tmp_path: Path) -> None:
    with pytest.raises(IsoshareError, match="there is no folder"):
        prepare_training(plan, tmp_path / "no" / "net.safetensors", "fresh", {})
    bare = tmp_path / "bare.json"
    SharingPlan().save(bare)
    with pytest.raises(PlanError, match="names no backbone, so there is nothing to train"):
        prepare_training(bare, tmp_path / "n", "fresh", {})
    with pytest.raises(IsoshareError, match="unknown data set 'cats'"):
        prepare_training(plan, tmp_path / "n", "fresh", {"dataset": "cats"})
