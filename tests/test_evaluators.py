"""Training: repeatable results, seeds side by side equal to seeds alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoshare import SearchSpace, SharingPlan, count_parameters, find_sites
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.training import vmap_ensemble as stacking
from isoshare.evaluators.training.batches import Batches, normalised
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import train
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.backbones import build_backbone

TINY = {"depth": 8, "width": 2, "classes": 10, "in_channels": 1}
SHORT = TrainingSettings(epochs=1, batch_size=64, learning_rate=0.05)


@pytest.fixture(scope="module")
def evaluator() -> TrainingEvaluator:
    return TrainingEvaluator("resnet_cifar", TINY, load_dataset("digits", 0.5), SHORT)


def test_normalisation_learns_nothing_from_held_out_images() -> None:
    dataset = load_dataset("digits", 0.5)
    train, test = (normalised(part, dataset.train) for part in (dataset.train, dataset.test))
    assert train.normalised(train.images).mean().abs() < 1e-5
    assert train.normalised(train.images).std() == pytest.approx(1, abs=1e-3)
    assert test.normalised(test.images).mean().abs() > 1e-5


def test_the_same_seed_gives_the_same_values_another_seed_others(
    evaluator: TrainingEvaluator,
) -> None:
    runs = [list(evaluator(SharingPlan(), seeds, "validation")) for seeds in ((0, 1), (0, 1))]
    values = [[m.values["accuracy"] for batch in run for m in batch] for run in runs]
    assert values[0] == values[1]
    assert values[0][0] != values[0][1]


def test_measuring_leaves_the_random_state_of_the_caller_alone(
    evaluator: TrainingEvaluator,
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(evaluator(SharingPlan(), (0,), "validation"))
    assert torch.equal(torch.rand(3), expected)


def test_seeds_side_by_side_train_as_seeds_alone(
    evaluator: TrainingEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same trained weights up to rounding, for a shared plan, with batch normalisation."""
    backbone = build_backbone("resnet_cifar", TINY)
    space = SearchSpace(find_sites(backbone), count_parameters(backbone))
    plan, data = space.fully_shared_plan(), evaluator.train_batches
    images = data.normalised(data.images[:50]).expand(3, 50, 1, 8, 8)

    def networks() -> list[nn.Module]:
        return [evaluator.network(plan, seed) for seed in range(3)]

    together = train(networks(), data, SHORT, range(3))(images)
    alone = [
        train([network], data, SHORT, [seed])(images[:1]) for seed, network in enumerate(networks())
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)

    side_by_side = list(evaluator(plan, range(3), "validation"))
    monkeypatch.setattr(stacking, "STACKABLE_WORK", 0)
    one_by_one = list(evaluator(plan, range(3), "validation"))
    assert [len(batch) for batch in side_by_side] == [3]
    assert [len(batch) for batch in one_by_one] == [1, 1, 1]


def test_training_learns() -> None:
    dataset = load_dataset("digits", 0.5)
    settings = TrainingSettings(epochs=12, batch_size=32, learning_rate=0.05)
    evaluator = TrainingEvaluator("resnet_cifar", {**TINY, "width": 8}, dataset, settings)
    (batch,) = evaluator(SharingPlan(), (0,), "test")
    assert batch[0].values["accuracy"] > 0.9
    assert batch[0].seconds > 0


def test_a_loss_that_is_no_number_is_an_error_with_its_epoch() -> None:
    dataset = load_dataset("digits", 0.5)
    settings = TrainingSettings(epochs=3, batch_size=32, learning_rate=1e30)
    evaluator = TrainingEvaluator("resnet_cifar", TINY, dataset, settings)
    with pytest.raises(EvaluationError, match="the loss became nan in epoch 1"):
        list(evaluator(SharingPlan(), (0, 1), "validation"))


def test_accuracy_counts_by_hand() -> None:
    data = Batches(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 1, 1, 1]))

    def forward(x: torch.Tensor) -> torch.Tensor:
        """Two networks: one always says 0, the other always 1."""
        zero, one = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        return torch.stack([zero.expand(x.shape[1], 2), one.expand(x.shape[1], 2)])

    assert accuracy(forward, 2, data, batch_size=3) == [0.25, 0.75]
