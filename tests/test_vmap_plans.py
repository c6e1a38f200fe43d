"""Plans side by side are the plans one after another, up to rounding."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import train
from isoshare.evaluators.training.vmap_plans import train_plans
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.backbones import build_backbone

ARGUMENTS = {"depth": 14, "width": 4, "classes": 10, "in_channels": 1}
STAGES = [
    tuple(f"stages.{stage}.{block}.conv{conv}" for block in (0, 1) for conv in (1, 2))[1:]
    for stage in (0, 1, 2)
]
GENERATOR = {"slice_size": 4, "code_size": 8}
PLANS = [
    SharingPlan(),
    SharingPlan((Bank("kernel", {}, STAGES[2]),)),
    SharingPlan(
        (Bank("kernel", {"orthogonality": 0.1}, STAGES[0][:2]), Bank("kernel", {}, STAGES[1]))
    ),
    SharingPlan((Bank("slice_generator", GENERATOR, (*STAGES[1], *STAGES[2])),)),
    SharingPlan((Bank("slice_generator", {**GENERATOR, "generator": "binary"}, STAGES[0]),)),
    SharingPlan((Bank("anchored", {}, STAGES[2]), Bank("kernel", {}, STAGES[0]))),
]


class Exact(Batches):
    """Images in double precision: in single precision a training makes much of a rounding."""

    def normalised(self, images: Tensor) -> Tensor:
        return super().normalised(images).double()


@pytest.fixture(scope="module")
def evaluator() -> TrainingEvaluator:
    settings = TrainingSettings(epochs=2, batch_size=64, learning_rate=0.05)
    return TrainingEvaluator("resnet_cifar", ARGUMENTS, load_dataset("digits", 0.5), settings)


def exact(batches: Batches) -> Exact:
    return Exact(**{field.name: getattr(batches, field.name) for field in fields(batches)})


def test_plans_side_by_side_train_as_plans_one_after_another(evaluator: TrainingEvaluator) -> None:
    data, held_out = exact(evaluator.train_batches), exact(evaluator.held_out["validation"])
    backbone = build_backbone("resnet_cifar", ARGUMENTS).double()
    images = data.normalised(data.images[:50])[None]

    def networks() -> dict[SharingPlan, nn.Module]:
        return {plan: evaluator.network(plan, 0).double() for plan in PLANS}

    together = train_plans(networks(), backbone, data, evaluator.settings, 0)
    logits = together(images.expand(len(PLANS), -1, -1, -1, -1))
    accuracies = accuracy(together, len(PLANS), held_out)
    for place, network in enumerate(networks().values()):
        alone = train([network], data, evaluator.settings, [0])
        assert torch.allclose(alone(images)[0], logits[place], atol=1e-4), PLANS[place]
        assert accuracy(alone, 1, held_out)[0] == accuracies[place]
    assert len(set(accuracies)) > 2


def test_plans_that_change_more_than_kernels_are_refused(evaluator: TrainingEvaluator) -> None:
    backbone = build_backbone("resnet_cifar", ARGUMENTS)
    banks = {
        "a plan adds statistics": Bank("filter_basis", {"shared_rank": 4}, STAGES[0]),
        "a plan changes more than kernels": Bank(
            "anchored", {"regulator_after": "batch_norm"}, STAGES[0]
        ),
    }
    for says, bank in banks.items():
        plans = (SharingPlan(), SharingPlan((bank,)))
        networks = {plan: evaluator.network(plan, 0) for plan in plans}
        with pytest.raises(ValueError, match=says):
            train_plans(networks, backbone, evaluator.train_batches, evaluator.settings, 0)
