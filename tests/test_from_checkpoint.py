"""From a checkpoint as people have it to a fine-tuned file: on the command line, and in Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import isoshare
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import train
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.weights.saving import load_network
from isoshare.space.weights.trained_weights import read_trained
from tests.fakes import Command

ARGUMENTS = ("--backbone-arg", "depth=14", "--backbone-arg", "width=4")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training program that wraps its network: keys begin with ``module.``."""
    data = load_dataset("digits", 0.2)
    arguments = {"depth": 14, "width": 4, "classes": 10, "in_channels": 1}
    settings = TrainingSettings(4, 64, 0.1)
    evaluator = TrainingEvaluator("resnet_cifar", arguments, data, settings)
    network = evaluator.network(SharingPlan(), 0)
    train([network], evaluator.train_batches, settings, [0])
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pth"
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 4, "state_dict": state}, path)
    return path


@pytest.fixture
def here(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return command


def solved(here: Command, checkpoint: Path, *more: str) -> tuple[int, str, str]:
    methods = ("--methods", "kernel,anchored")
    return here("solve", "resnet_cifar", *ARGUMENTS, "--weights", str(checkpoint), *methods, *more)


def test_a_checkpoint_becomes_a_plan_within_its_budget_and_a_fine_tuned_file(
    here: Command, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = ("--max-parameters", "8000", "-o", "plan.json", "--sweep", "front.csv", "--json")
    code, out, err = solved(here, checkpoint, *budget)
    assert code == 0, err
    found = json.loads(out)
    assert found["parameters"]["shared"] <= 8000
    file = PlanFile.load("plan.json")
    assert file.parameters is not None
    assert file.parameters.shared == found["parameters"]["shared"]
    rows = [*csv.DictReader(Path("front.csv").read_text().splitlines())]
    assert len(rows) == found["plans"]
    assert Path("front.png").read_bytes().startswith(b"\x89PNG")
    another_budget_measures_nothing_again(here, checkpoint, monkeypatch)
    options = ("--weights", str(checkpoint), "--distill", "--epochs", "1", "--json")
    code, out, err = here("train", "plan.json", *options, "-o", "tuned.safetensors")
    assert code == 0, err
    done = json.loads(out)
    assert done["test_accuracy"] > 0.6
    assert done["unshared"]["test_accuracy"] > 0.6
    network = load_network("tuned.safetensors")
    assert isoshare.count_parameters(network) == file.parameters.shared


def another_budget_measures_nothing_again(
    here: Command, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("isoshare.search.workflows.preparation.kept_scores.scores_on", fails)
    for name in ("one.json", "two.json"):
        assert solved(here, checkpoint, "--max-bytes", "34000", "-o", name)[0] == 0
    assert SharingPlan.load("one.json") == SharingPlan.load("two.json")
    code, out, err = solved(here, checkpoint, "--max-parameters", "2", "-o", "three.json")
    assert (code, out) == (2, "")
    assert "the smallest that can be has" in err
    assert not Path("three.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--max-bytes", "34000"), "give -o plan.json, --sweep F.csv"),
        (("-o", "plan.json"), "solved for a budget"),
        (("-o", "none/plan.json", "--max-bytes", "34000"), "there is no folder"),
        (("-o", "plan.json", "--sweep", "/dev/null", "--max-bytes", "9"), "it is a device"),
        (
            ("-o", "plan.json", "--new-head", "--max-bytes", "34000"),
            "--new-head is not trained yet",
        ),
    ],
)
def test_what_cannot_be_solved_is_told(
    here: Command, checkpoint: Path, options: tuple[str, ...], sentence: str
) -> None:
    code, _, err = solved(here, checkpoint, *options)
    assert code == 2
    assert sentence in err


def test_a_plan_is_solved_from_trained_weights_alone(here: Command) -> None:
    code, _, err = here("solve", "resnet_cifar", *ARGUMENTS, "--max-bytes", "9", "-o", "plan.json")
    assert code == 2
    assert "give its weights with --weights FILE" in err


def test_inspect_tells_whether_weights_fit(here: Command, checkpoint: Path) -> None:
    fits = ("--backbone-arg", "in_channels=1", "--weights", str(checkpoint))
    code, out, _ = here("inspect", "resnet_cifar", *ARGUMENTS, *fits, "--json")
    assert code == 0
    assert json.loads(out)["weights"]["entry"] == "state_dict"
    code, out, _ = here("inspect", "resnet_cifar", *ARGUMENTS, *fits)
    assert "weights: all fit" in out
    code, _, err = here("inspect", "resnet_cifar", "--weights", str(checkpoint))
    assert code == 2
    assert "compare --backbone" in err


def test_weights_that_do_not_fit_are_told_before_a_search_begins(
    here: Command, checkpoint: Path
) -> None:
    code, _, err = here("launch", "--weights", str(checkpoint), "--epochs", "0", "--trials", "1")
    assert code == 2
    assert "does not fit backbone 'resnet_cifar'" in err
    assert not Path("isoshare.db").exists() or "no studies" in here("studies")[1]


def test_export_takes_no_weights_where_nothing_is_trained(here: Command, checkpoint: Path) -> None:
    weights = ("--weights", str(checkpoint))
    torch.save({}, "model.safetensors")
    code, _, err = here("export", "model.safetensors", *weights, "-o", "plan.json")
    assert code == 2
    assert "nothing is trained here" in err


def test_the_same_in_ten_lines_of_python(checkpoint: Path) -> None:
    from isoshare.space.backbones import build_backbone

    data = load_dataset("digits", 0.2)
    arguments = {"depth": 14, "width": 4, "classes": 10, "in_channels": 1}
    evaluator = TrainingEvaluator("resnet_cifar", arguments, data, TrainingSettings(1, 32, 0.02))
    images, labels = evaluator.train_batches.images[:256], evaluator.train_batches.labels[:256]

    model = build_backbone("resnet_cifar", arguments)
    model.load_state_dict(read_trained(checkpoint, model).state)
    batch = (evaluator.train_batches.normalised(images), labels)
    plan = isoshare.solve(model, [batch], functional.cross_entropy, max_parameters=8000)
    shared, _ = inherit(model.eval(), plan)
    calibrate(shared, evaluator.train_batches)
    forward = train([shared], evaluator.train_batches, evaluator.settings, [0])
    assert accuracy(forward, 1, evaluator.held_out["validation"])[0] > 0.6
    assert isoshare.count_parameters(shared) <= 8000
