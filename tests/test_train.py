"""Training a chosen plan fully, as a user does: the command, the file, an interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from isoshare import Bank, PlanError, SharingPlan, apply_plan, count_parameters, find_sites
from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.training import checkpoints
from isoshare.evaluators.training.trainer import train
from isoshare.evaluators.training.vmap_ensemble import STACKABLE_WORK
from isoshare.search.workflows.train import (
    FullTraining,
    UnwrittenError,
    prepare_training,
    run_training,
)
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import PlanFile
from isoshare.space.weights.saving import load_network, read_plan, save_weights
from tests.fakes import Command

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


def train_command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "run_search.py"), "train", *words]


def test_a_plan_is_trained_tested_and_written(plan: Path) -> None:
    output = plan.parent / "net.safetensors"
    done = subprocess.run(
        train_command("plan.json", "--epochs", "4", "-o", str(output), "--json"),
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


def test_a_network_may_be_trained_unshared_first_and_then_teach_the_shared_one(plan: Path) -> None:
    options = {"epochs": 8, "distill": True}
    output = plan.parent / "net.safetensors"
    training = prepare_training(plan, output, "fresh", options, share_from=0.75)
    heard: list[tuple[int, int]] = []
    found = run_training(training, lambda epoch, epochs, _: heard.append((epoch, epochs)))
    assert heard == [*((epoch, 6) for epoch in range(1, 7)), (1, 2), (2, 2)]
    assert found["test_accuracy"] > 0.8
    assert 0 < found["test_loss"] < 2
    assert found["unshared"]["test_accuracy"] > 0.8
    assert set(found["unshared"]) == {"test_accuracy", "test_loss"}
    again = prepare_training(plan, output, "fresh", {**options, "distill": False}, share_from=0.75)
    assert again.checkpoint != training.checkpoint


@pytest.mark.parametrize(
    ("options", "share_from", "sentence"),
    [
        ({"distill": True}, None, "--distill learns from the trained unshared network"),
        ({"epochs": 8}, 0.01, "must leave epochs before and after it: 0.01 of 8 are 0"),
        ({"epochs": 8}, 1.0, "must leave epochs before and after it: 1 of 8 are 8"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    plan: Path, options: dict[str, Any], share_from: float | None, sentence: str
) -> None:
    with pytest.raises(IsoshareError, match=sentence):
        prepare_training(plan, plan.parent / "n", "fresh", options, share_from)


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


KILLED = """
import os, signal, sys
from pathlib import Path
from isoshare.evaluators.training import checkpoints
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training.distillation import DistilledTraining
from tests.test_train import distilled, run_training

use_threads(1)  # as here: sums over two threads round differently
checkpoints.SECONDS_BETWEEN = 0
steps, step = 0, DistilledTraining.loss_of

def dying(self, images, labels):
    global steps
    steps += 1
    if steps == 2 * self.batches + 5:  # within the third epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, images, labels)

DistilledTraining.loss_of = dying
run_training(distilled(Path(sys.argv[1]), Path(sys.argv[2])), lambda *_: None)
"""


def distilled(plan: Path, output: Path) -> FullTraining:
    """Three epochs unshared, then four shared, taught by what came of them."""
    return prepare_training(plan, output, "fresh", {"epochs": 7, "distill": True}, 0.43)


def test_a_distilled_training_that_is_killed_goes_on_where_it_was(plan: Path) -> None:
    killed, whole = plan.parent / "killed.safetensors", plan.parent / "whole.safetensors"
    words = [sys.executable, "-c", KILLED, str(plan), str(killed)]
    assert subprocess.run(words, check=False, cwd=ROOT).returncode == -signal.SIGKILL
    heard: list[tuple[int, int]] = []
    found = run_training(distilled(plan, killed), lambda epoch, of, _: heard.append((epoch, of)))
    assert heard == [(3, 4), (4, 4)], "neither the teacher nor two epochs are trained again"
    kept = checkpoint_folder("unshared")
    assert kept is not None
    kept.rename(plan.parent / "teacher")
    expected = run_training(distilled(plan, whole), lambda *_: None)
    assert {**found, "weights": None} == {**expected, "weights": None}
    one, two = (load_network(output).state_dict() for output in (killed, whole))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not distilled(plan, killed).checkpoint.exists()


def test_requests_that_cannot_be_carried_out_are_refused(plan: Path, tmp_path: Path) -> None:
    with pytest.raises(IsoshareError, match="there is no folder"):
        prepare_training(plan, tmp_path / "no" / "net.safetensors", "fresh", {})
    bare = tmp_path / "bare.json"
    SharingPlan().save(bare)
    with pytest.raises(PlanError, match="names no backbone, so there is nothing to train"):
        prepare_training(bare, tmp_path / "n", "fresh", {})
    with pytest.raises(IsoshareError, match="unknown data set 'cats'"):
        prepare_training(plan, tmp_path / "n", "fresh", {"dataset": "cats"})


@pytest.fixture
def large(tmp_path: Path) -> PlanFile:
    """A plan of a network that is so large that it is trained with channels last."""
    arguments = {"depth": 8, "width": 64, "in_channels": 1, "classes": 10}
    network = build_backbone("resnet_cifar", arguments)
    assert sum(p.numel() for p in network.parameters()) * 64 * 32 > STACKABLE_WORK
    sites = tuple(s.name for s in find_sites(network) if s.in_channels == 64 == s.out_channels)
    plan = SharingPlan((Bank("kernel", {}, sites),))
    return PlanFile.of(plan, backbone={"name": "resnet_cifar", "arguments": arguments})


def test_a_network_trained_with_channels_last_is_written_and_exported(
    large: PlanFile, tmp_path: Path, command: Command
) -> None:
    large.save(tmp_path / "plan.json")
    output = tmp_path / "net.safetensors"
    asked = ("--dataset", "digits", "--subset", 64, "--epochs", 1, "--batch-size", 32)
    code, _, err = command("train", tmp_path / "plan.json", *asked, "-o", output)
    assert code == 0, err
    assert all(tensor.is_contiguous() for tensor in load_network(output).state_dict().values())
    code, said, err = command("export", output, "--format", "onnx", "-o", tmp_path / "net.onnx")
    assert code == 0, err
    assert "wrote" in said


def test_weights_that_leave_the_trainer_are_contiguous(large: PlanFile) -> None:
    asked = {"dataset": "digits", "subset": 64, "epochs": 1, "batch_size": 32}
    training = prepare_training(large, Path("net.safetensors"), "fresh", asked)
    network = training.evaluator.network(large.plan, 0)
    train([network], training.evaluator.train_batches, training.evaluator.settings, [0])
    assert all(tensor.is_contiguous() for tensor in network.state_dict().values())


def test_weights_of_any_layout_are_saved_and_tied_ones_once(
    large: PlanFile, tmp_path: Path
) -> None:
    assert large.backbone is not None
    network = apply_plan(build_backbone("resnet_cifar", large.backbone.arguments), large.plan)
    save_weights(network, tmp_path / "one.safetensors", large)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_weights(network, tmp_path / "two.safetensors", large)
    assert not all(tensor.is_contiguous() for tensor in network.parameters())  # as they were
    one, two = (tmp_path / f"{name}.safetensors" for name in ("one", "two"))
    assert contents(one) == contents(two)


def contents(file: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Tensors and notes of a file; the notes stand in any order in it."""
    with safe_open(file, "numpy") as opened:
        tensors = {name: opened.get_tensor(name).tobytes() for name in opened.keys()}  # noqa: SIM118
        return tensors, dict(opened.metadata())


def test_a_training_whose_weights_cannot_be_written_is_kept(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    whole, output = tmp_path / "whole.safetensors", tmp_path / "net.safetensors"
    run_training(prepare_training(plan, whole, "fresh", {"epochs": 3}), lambda *_: None)
    asked = prepare_training(plan, output, "fresh", {"epochs": 3})
    output.mkdir()
    with pytest.raises(UnwrittenError) as refused:
        run_training(asked, lambda *_: None)
    assert f"cannot write {output}: Is a directory; the training is kept in" in str(refused.value)
    assert str(asked.checkpoint) in str(refused.value)
    output.rmdir()
    heard: list[int] = []
    again = prepare_training(plan, output, "fresh", {"epochs": 3})
    run_training(again, lambda epoch, *_: heard.append(epoch))
    assert heard == []
    assert contents(output) == contents(whole)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        *("plan.json", "whole.safetensors", "net.safetensors")
    }


def test_where_no_checkpoint_fits_either_the_weights_are_kept_elsewhere(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    output = tmp_path / "folder" / "net.safetensors"
    asked = prepare_training(plan, output, "fresh", {"epochs": 1})
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").write_text("a file, so nothing can be written under this name")
    with pytest.raises(UnwrittenError, match="the trained weights are in") as refused:
        run_training(asked, lambda *_: None)
    (kept,) = (tmp_path / "elsewhere").glob("*/net.safetensors")
    assert str(kept) in str(refused.value)
    assert count_parameters(load_network(kept)) > 0


def test_a_path_that_cannot_be_written_is_refused_before_the_training(plan: Path) -> None:
    with pytest.raises(IsoshareError, match="it is a folder; add the name of a file"):
        prepare_training(plan, plan.parent, "fresh", {})
