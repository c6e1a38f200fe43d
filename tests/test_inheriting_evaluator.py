"""Measuring by inheritance: one training of the unshared network, then projections of it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoshare import Bank, SearchSpace, SharingPlan, count_parameters, find_sites
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.inheriting.inheriting_evaluator import (
    InheritingEvaluator,
    is_left_to_chance,
)
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import WeightsError
from isoshare.space.methods import METHODS
from tests.test_methods import VARIANTS

SMALL = {"depth": 8, "width": 4, "in_channels": 1, "classes": 10}
SETTINGS = TrainingSettings(epochs=1, batch_size=32, learning_rate=0.1)


STAGE = tuple(f"stages.2.{place}" for place in ("0.conv2", "1.conv1", "1.conv2"))


def heir(epochs: int = 1, pretrain: int = 8, **options: Any) -> InheritingEvaluator:
    dataset = load_dataset("digits", 0.5)
    settings = replace(SETTINGS, epochs=epochs)
    return InheritingEvaluator(
        "resnet_cifar", SMALL, dataset, settings, pretrain_epochs=pretrain, **options
    )


def space() -> SearchSpace:
    backbone = build_backbone("resnet_cifar", SMALL)
    return SearchSpace(find_sites(backbone), count_parameters(backbone), tuple(METHODS))


def accuracy(
    evaluator: TrainingEvaluator, plan: SharingPlan, seeds: tuple[int, ...] = (0,)
) -> float:
    return sum(m.values["accuracy"] for b in evaluator(plan, seeds, "validation") for m in b) / len(
        seeds
    )


def test_one_epoch_of_fine_tuning_beats_one_from_scratch() -> None:
    evaluator = heir()
    heard: list[int] = []
    evaluator.prepare(lambda epoch, epochs, values: heard.append(epoch))
    assert heard == list(range(1, 9))
    scratch = TrainingEvaluator("resnet_cifar", SMALL, evaluator.dataset, SETTINGS)
    for plan in space().warm_starts().values():
        assert accuracy(evaluator, plan) > accuracy(scratch, plan) + 0.05


def test_the_unshared_network_is_trained_once_and_found_again() -> None:
    first = heir()
    first.prepare()
    again = replace(heir(), arguments=dict(reversed(SMALL.items())))
    heard: list[int] = []
    again.prepare(lambda epoch, epochs, values: heard.append(epoch))
    assert heard == []
    for name, tensor in first.trained().state.items():
        assert torch.equal(tensor, again.trained().state[name])
    heir(pretrain=1).prepare(lambda epoch, epochs, values: heard.append(epoch))
    assert heard == [1]


def test_the_trained_network_travels_and_the_images_on_the_device_stay() -> None:
    evaluator = heir(pretrain=1)
    evaluator.prepare()
    sent = pickle.dumps(evaluator)
    assert b"train_batches" not in sent
    arrived = pickle.loads(sent)
    assert arrived._trained
    assert accuracy(arrived, SharingPlan()) == accuracy(evaluator, SharingPlan())


def test_without_fine_tuning_an_empty_plan_is_the_trained_network_for_every_seed() -> None:
    evaluator = heir(epochs=0)
    evaluator.prepare()
    (batch,) = evaluator(SharingPlan(), (3, 4, 5), "validation")
    assert [one.seed for one in batch] == [3, 4, 5]
    assert len({one.values["accuracy"] for one in batch}) == 1
    assert batch[0].values["accuracy"] > 0.8


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_may_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    source = heir(pretrain=8)
    source.prepare()
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(source.trained().state, path)
    else:
        from safetensors.torch import save_file

        save_file(source.trained().state, path)
    evaluator = heir(epochs=0, weights=str(path))
    evaluator.prepare()
    assert accuracy(evaluator, SharingPlan()) == accuracy(heir(epochs=0), SharingPlan())


def test_weights_that_do_not_fit_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="does not fit backbone 'resnet_cifar'"):
        heir(weights=str(tmp_path / "other.pt")).prepare()


def test_a_new_head_is_trained_with_the_rest(tmp_path: Path) -> None:
    source = heir(pretrain=8)
    source.prepare()
    others = {n: t for n, t in source.trained().state.items() if not n.startswith("head")}
    torch.save({**others, "head.weight": torch.zeros(3, 16)}, tmp_path / "three.pt")
    evaluator = heir(epochs=0, pretrain=2, weights=str(tmp_path / "three.pt"), new_head=True)
    heard: list[int] = []
    evaluator.prepare(lambda epoch, epochs, values: heard.append(epoch))
    assert heard == [1, 2]
    assert accuracy(evaluator, SharingPlan()) > 0.8


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_a_plan_is_projected_once_where_its_seeds_agree_in_every_bit(
    method: str, options: dict[str, Any]
) -> None:
    sites = ("stages.2.0.conv2", "stages.1.0.conv2") if method == "slice_generator" else STAGE
    plan = SharingPlan((Bank(method, options, sites),))
    evaluator = replace(heir(pretrain=1), arguments={**SMALL, "depth": 14})
    one, two = (evaluator._inherited(plan, seed) for seed in (0, 1))
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    agree = all(torch.equal(*pair) for pair in pairs)
    assert is_left_to_chance(one) == (not agree)
    seeds = [evaluator.network(plan, seed) for seed in (0, 1)]
    assert (evaluator._kept.network is not None) == agree
    for network, alone in zip(seeds, (one, two), strict=True):
        found, expected = network.state_dict(), alone.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    a, b = ({tensor.data_ptr() for tensor in network.parameters()} for network in seeds)
    assert not a & b, "each is trained on its own"
    assert pickle.loads(pickle.dumps(evaluator))._kept.network is None
