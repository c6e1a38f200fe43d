"""From Python a study writes every format that the command line writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import onnxruntime
import pytest
import torch
from torch import nn

import isoshare
from isoshare.search.study import Study
from isoshare.search.workflows.exporting.export import FORMATS
from isoshare.search.workflows.own_code.own_export import Format
from isoshare.space.weights.saving import read_plan
from tests.fakes import ThreeSites

ALL = isoshare.SharingPlan((isoshare.Bank("kernel", {}, ("convs.0", "convs.1", "convs.2")),))
IMAGES = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def study() -> Study:
    made = isoshare.create_study(ThreeSites(3), "s", methods=["kernel"])
    made.optimize(lambda _, trial: 0.9 - 0.1 * len(trial.plan.banks), n_trials=3)
    return made


@pytest.fixture(scope="module")
def network(study: Study) -> nn.Module:
    """The smallest network of the study, trained, one hopes."""
    torch.manual_seed(0)
    return isoshare.apply_plan(ThreeSites(3), study.best("smallest").plan)


def test_the_formats_are_those_of_the_table() -> None:
    assert get_args(Format) == tuple(FORMATS)


@pytest.mark.parametrize(
    ("name", "format", "also"),
    [
        ("plan.json", None, {}),
        ("net.safetensors", None, {}),
        ("net.onnx", None, {"example_input": IMAGES[:1]}),
        ("net8.onnx", "onnx-int8", {"batches": [IMAGES]}),
        ("net.tflite", None, {"batches": [IMAGES]}),
        ("net8.onnx", "onnx-int8", {"batches": [IMAGES], "int8_epochs": 2}),
    ],
)
def test_the_network_goes_home(  # noqa: PLR0917
    study: Study, network: nn.Module, tmp_path: Path, name: str, format: Format, also: Any
) -> None:
    path, best = tmp_path / name, study.best("smallest")
    said = study.export(path, best.number, format, network=network, **also)
    assert str(path) in said
    with torch.no_grad():
        expected = network.eval()(IMAGES)
    if path.suffix == ".json":
        assert isoshare.SharingPlan.load(path) == best.plan
    elif path.suffix == ".safetensors":
        assert read_plan(path).plan == best.plan
        again = isoshare.apply_plan(ThreeSites(3), best.plan)
        assert torch.equal(isoshare.load_weights(again, path).eval()(IMAGES), expected)
    elif path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"images": IMAGES.numpy()})
        tolerance = 0.1 if format else 1e-5
        assert (torch.from_numpy(found) - expected).abs().max() < tolerance


def test_all_trials_go_to_optuna(study: Study, tmp_path: Path) -> None:
    assert "3 trials" in study.export(tmp_path / "all.db")


@pytest.mark.parametrize(
    ("name", "trial", "also", "sentence"),
    [
        (
            "net.safetensors",
            None,
            {},
            "a study keeps no weights: share your network by the plan of",
        ),
        ("net.onnx", 0, {}, "a study keeps no weights"),
        (
            "net.safetensors",
            0,
            {"network": True},
            "parameters, and by the plan of trial 0 it would",
        ),
        ("net.onnx", None, {"network": True, "example_input": IMAGES[:, :1]}, "images of 1x6x6: "),
        ("net.onnx", None, {"network": True}, "ONNX files need one input"),
        ("net.onnx", None, {"network": True, "format": "onnx-int8"}, "8 bits are fitted to inputs"),
        ("net.tflite", None, {"network": True}, "8 bits are fitted to inputs"),
        (
            "net.tflite",
            None,
            {"network": True, "batches": [IMAGES], "int8_epochs": -1},
            "int8_epochs is a number of epochs, 0 or more: -1",
        ),
        ("plan.json", 0, {"int8_epochs": 1}, "int8_epochs is for onnx-int8 and tflite, not for"),
        ("net.gguf", None, {"format": "gguf"}, "unknown format 'gguf': choose one of json"),
        ("all.db", 0, {}, "format optuna holds a whole study"),
        ("none/plan.json", None, {}, "cannot write"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(  # noqa: PLR0917
    study: Study,
    network: nn.Module,
    tmp_path: Path,
    name: str,
    trial: int | None,
    also: dict[str, Any],
    sentence: str,
) -> None:
    smallest = study.best("smallest").number if trial is None and "network" in also else trial
    given = {**also, "network": network} if "network" in also else also
    with pytest.raises(isoshare.IsoshareError, match=sentence):
        study.export(tmp_path / name, smallest, **given)
    assert not list(tmp_path.iterdir())


def test_weights_of_another_plan_of_the_same_size_are_refused(tmp_path: Path) -> None:
    made = isoshare.create_study(ThreeSites(3), "all", methods=["kernel"])
    made.optimize(lambda *_: 0.5, n_trials=5)
    pairs = [one for one in made.trials if len(one.plan.sites) == 2]
    first, second = (isoshare.apply_plan(ThreeSites(3), one.plan) for one in pairs[:2])
    assert isoshare.count_parameters(first) == isoshare.count_parameters(second)
    path, other = tmp_path / "first.safetensors", tmp_path / "other.safetensors"
    made.export(path, pairs[0].number, network=first)
    with pytest.raises(isoshare.IsoshareError, match="the network shares otherwise than by the"):
        made.export(other, pairs[0].number, network=second)
    for network in (second, ThreeSites(3), isoshare.apply_plan(ThreeSites(3), ALL)):
        with pytest.raises(isoshare.IsoshareError, match="is of a network that shares otherwise"):
            isoshare.load_weights(network, path)
    again = isoshare.load_weights(isoshare.apply_plan(ThreeSites(3), pairs[0].plan), path)
    assert torch.equal(again.eval()(IMAGES), first.eval()(IMAGES))
    assert not other.exists()
