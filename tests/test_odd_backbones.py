"""Small networks of every make are trained: side by side where that is possible."""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings, optimizer_of
from isoshare.evaluators.training.trainer import AUXILIARY_WEIGHT, TrainingRun
from isoshare.evaluators.training.vmap_ensemble import outputs_of, why_one_by_one
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.workflows.preparation.network import check_output
from isoshare.space.errors import BackboneError
from isoshare.space.plan import Bank, SharingPlan
from tests import odd_backbones

SHORT = TrainingSettings(epochs=1, batch_size=256, learning_rate=0.01)
PLAN = SharingPlan((Bank("kernel", {}, ("body.0", "body.1")),))
UNTRACEABLE = ("Binary", "Branching", "Recurrent", "Checkpointed")


def evaluator(name: str) -> TrainingEvaluator:
    return TrainingEvaluator(f"tests.odd_backbones:{name}", {}, load_dataset("digits", 0.5), SHORT)


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_seeds_are_trained_one_after_another_where_they_cannot_be_side_by_side(name: str) -> None:
    measure = evaluator(name)
    with pytest.warns(UserWarning, match="trained one after another: torch.func.vmap cannot"):
        found = [batch[0] for batch in measure(PLAN, (0, 1), "validation")]
    assert [one.seed for one in found] == [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once, and remembered
        again = [batch[0] for batch in measure(PLAN, (0, 1), "validation")]
        alone = [batch[0] for batch in evaluator(name)(PLAN, (0,), "validation")]
    assert [one.values for one in again] == [one.values for one in found]
    assert alone[0].values == found[0].values


@pytest.mark.parametrize("name", [*UNTRACEABLE, "Small", "Auxiliary"])
def test_it_is_known_beforehand(name: str) -> None:
    torch.manual_seed(0)
    network = getattr(odd_backbones, name)()
    state = copy.deepcopy(network.state_dict())
    assert bool(why_one_by_one(network, torch.randn(2, 1, 8, 8))) == (name in UNTRACEABLE)
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())


def test_auxiliary_outputs_are_trained_and_ignored_in_evaluation() -> None:
    torch.manual_seed(0)
    networks = [odd_backbones.Auxiliary() for _ in range(2)]
    before = copy.deepcopy(networks[0])
    data = Batches(torch.randint(0, 255, (32, 1, 8, 8)).byte(), torch.arange(32) % 10)
    training = TrainingRun(networks, data, SHORT, (0, 1))
    images, labels = data.images[None].expand(2, -1, -1, -1, -1), data.labels.expand(2, -1)
    loss = training.loss_of(images, labels)
    by_hand = sum(loss_by_hand(network, data) for network in (before, networks[1]))
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    assert training.stack.trained(data.normalised(images)).shape == (2, 32, 10)


def loss_by_hand(network: Any, data: Batches) -> float:
    main, other = network.train()(data.normalised(data.images))
    entropy = torch.nn.functional.cross_entropy
    loss = entropy(main, data.labels) + AUXILIARY_WEIGHT * entropy(other, data.labels)
    return float(loss.item())


class Changed(odd_backbones.Small):
    """Returns something else than logits."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Any) -> Any:
        return self.change(super().forward(x))


def fail(_: Any) -> None:
    raise ValueError("in\ntwo lines")


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10))


def holding(held: Any) -> nn.Module:
    network = odd_backbones.Small()
    network.held = held
    return network


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (lazy(), r"module '0' \(LazyConv2d\) is lazy: .* first forward pass"),
        (holding(iter([])), None),
        (holding(number for number in [1]), r"module '' \(Small\) holds generator 'held'"),
        (holding(threading.Event()), r"module '' \(Small\) holds Event 'held'"),
        (holding(sys.stdout), r"module '' \(Small\) holds .* 'held'"),
        (odd_backbones.Small().to("meta"), r"cannot take images .*: RuntimeError: Tensor on dev"),
        (Changed(fail), r"cannot take images .*: ValueError: in two lines"),
        (Changed(lambda logits: {"logits": logits}), r"must return logits .* it returned dict;"),
        (Changed(lambda logits: logits[:, :3]), r"must return logits .* it returned \(2, 3\);"),
        (Changed(lambda logits: logits.mean(0)), r"must return logits .* it returned \(10,\);"),
    ],
    ids=str,
)
def test_what_no_trial_could_use_is_refused_before_a_search(
    network: nn.Module, says: str | None
) -> None:
    with pytest.raises(BackboneError, match=says) if says else nullcontext():
        check_output(network, load_dataset("digits", 0.5), "own:network")


def test_complex_parameters_are_trained() -> None:
    parameters = [nn.Parameter(torch.ones(2, dtype=torch.complex64))]
    for name in ("sgd", "adamw"):
        settings = dataclasses.replace(SHORT, optimizer=name)
        optimizer = optimizer_of(list(parameters), settings)
        parameters[0].grad = torch.ones_like(parameters[0])
        optimizer.step()
    assert not parameters[0].equal(torch.ones(2, dtype=torch.complex64))


def test_what_is_no_auxiliary_output_is_refused() -> None:
    logits, found = torch.zeros(2, 5), {"out": torch.zeros(2, 5), "aux": torch.zeros(2, 5)}
    assert len(outputs_of(found)) == 2
    assert len(outputs_of((logits, None))) == 1
    for wrong in ((logits, torch.zeros(2, 7)), (logits, "text"), [logits, [logits]]):
        with pytest.raises(EvaluationError, match="nothing but auxiliary outputs of the same"):
            outputs_of(wrong)


def test_a_parameter_may_get_its_first_gradient_later() -> None:
    """As without fused steps, where torch itself allows it."""
    torch.manual_seed(0)
    data = Batches(torch.randint(0, 255, (32, 1, 8, 8)).byte(), torch.arange(32) % 10)
    settings = TrainingSettings(epochs=1, batch_size=8, learning_rate=0.01)
    ends = []
    for fused in (True, False):
        torch.manual_seed(1)
        network = odd_backbones.Late()
        training = TrainingRun([network], data, settings, (0,))
        training.optimizer.param_groups[0]["fused"] = fused
        training._run_epoch()
        ends.append(network.state_dict())
    for name, tensor in ends[0].items():
        assert torch.allclose(tensor, ends[1][name], atol=1e-6), name
