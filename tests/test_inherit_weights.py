"""One's own trained network, shared by a plan on one's own batches."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, IsoshareError, SharingPlan, apply_plan, count_parameters, inherit_weights
from isoshare.evaluators.inheriting.weight_projection import estimate_normalisation
from tests.test_channel_alignment import PLANS, images, network, tied

EVERYTHING = tied("expand", "depthwise", "project")


def batches() -> list[tuple[Tensor, None]]:
    """Inputs without targets."""
    return [(some, None) for some in torch.split(images(), 16)]


def trained() -> nn.Module:
    """Three blocks of equal kernels, whose channels stand in orders of their own."""
    model = network()
    estimate_normalisation(model, torch.split(images(), 16))
    return model


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{len(plan.banks)} {plan.banks[0].sites}")
def test_what_can_be_tied_without_loss_is(plan: SharingPlan) -> None:
    model = trained()
    shared = inherit_weights(model, plan, batches())
    assert count_parameters(shared) == count_parameters(apply_plan(model, plan, weights="fresh"))
    assert torch.allclose(shared(images()), model(images()), atol=1e-3)
    blind = apply_plan(model, plan, weights="inherit")
    assert not torch.allclose(blind(images()), model(images()), atol=1e-1)


def test_more_is_kept_than_without_data() -> None:
    model = trained()
    for block in model.get_submodule("blocks").children():
        nn.init.normal_(block.get_parameter("expand.weight"))
    estimate_normalisation(model, torch.split(images(), 16))
    shared = inherit_weights(model, tied("expand"), batches())
    blind = apply_plan(model, tied("expand"), weights="inherit")
    estimate_normalisation(blind, torch.split(images(), 16))
    wanted = model(images())
    kept, before = ((one(images()) - wanted).square().mean() for one in (shared, blind))
    assert kept < 0.8 * before


@pytest.mark.parametrize("is_training", [True, False])
def test_the_model_stays_as_it_was_and_gives_its_mode(is_training: bool) -> None:
    model = trained().train(is_training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shared = inherit_weights(model, EVERYTHING, iter(batches()))
    assert shared.training == model.training == is_training
    assert shared.get_submodule("blocks.0.norm").training == is_training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_of_another_precision_keeps_it() -> None:
    model, precise = trained().double(), [(some.double(), None) for some, _ in batches()]
    shared = inherit_weights(model, EVERYTHING, precise)
    assert {tensor.dtype for tensor in shared.parameters()} == {torch.double}
    assert torch.allclose(shared(images().double()), model(images().double()), atol=1e-3)


def test_of_endless_batches_some_are_taken() -> None:
    endless, model = itertools.cycle(batches()), trained()
    shared = inherit_weights(model, EVERYTHING, endless)
    assert torch.allclose(shared(images()), model(images()), atol=1e-3)


def test_without_banks_it_is_the_model() -> None:
    model = trained()
    assert torch.equal(inherit_weights(model, SharingPlan(), batches())(images()), model(images()))


def test_batches_that_say_nothing_are_refused() -> None:
    with pytest.raises(IsoshareError, match="no batches"):
        inherit_weights(trained(), EVERYTHING, [])
    narrow = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    )
    plan = SharingPlan((Bank("kernel", {}, ("1", "2")),))
    single = [(torch.ones(1, 2, 1, 1), None)] * 4
    with pytest.raises(IsoshareError, match="needs batches of several inputs"):
        inherit_weights(narrow, plan, single)
