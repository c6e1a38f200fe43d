"""Spiking networks: neurons by hand, parameters that are shared, and training by proxy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare import Bank, SharingPlan, apply_plan, count_parameters
from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.evaluators.spiking import (
    KEEPING_RATE,
    Proxy,
    SpikingEvaluator,
    proxy_loss,
    score,
    train_by_proxy,
)
from isoshare.evaluators.spiking_network import SpikingTwin, batch_norms, integrate_and_fire
from isoshare.evaluators.training.batches import Batches, normalised
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.space.apply import extra_loss
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import BackboneError
from isoshare.space.methods.slice_generator import SliceGenerated

SHORT = TrainingSettings(epochs=1, batch_size=8, learning_rate=0.01, optimizer="adamw")
SITES = {
    stage: tuple(f"stages.{stage}.{block}.conv{conv}" for block in (0, 1) for conv in (1, 2))[1:]
    for stage in (0, 1, 2)
}
BASIS = {"shared_rank": 4, "unique_rank": 1}
GENERATOR = {"slice_size": 4, "code_size": 8}
PLANS = {
    "unshared": (),
    "kernel": (Bank("kernel", {}, SITES[1]),),
    "anchored": (Bank("anchored", {}, SITES[1]),),
    "anchored after the norm": (
        Bank("anchored", {"every": 2, "regulator_after": "batch_norm"}, SITES[1]),
    ),
    "filter_basis": (Bank("filter_basis", BASIS, SITES[1]),),
    "slice_generator": (Bank("slice_generator", GENERATOR, SITES[0] + SITES[2]),),
    "frozen generator": (Bank("slice_generator", {**GENERATOR, "generator": "binary"}, SITES[0]),),
    "mixed": (
        Bank("kernel", {}, SITES[0]),
        Bank("filter_basis", BASIS, SITES[1]),
        Bank("slice_generator", GENERATOR, SITES[2]),
    ),
}


class Step(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(x)
        return y


def resnet(plan: str = "unshared") -> nn.Module:
    torch.manual_seed(0)
    backbone = build_backbone("resnet_cifar", {"depth": 14, "width": 4, "in_channels": 1})
    return apply_plan(backbone, SharingPlan(PLANS[plan]))


def random_batches(images: int = 24) -> Batches:
    torch.manual_seed(1)
    return Batches(torch.randn(images, 1, 8, 8), torch.arange(images) % 10)


def counts(network: nn.Module, images: Tensor, steps: int = 4) -> Tensor:
    spikes: Tensor = SpikingTwin(network, steps)(images)[0]
    return spikes


def test_a_neuron_adds_up_spikes_at_the_threshold_and_starts_again_from_zero() -> None:
    """Potentials by hand: 1.5, 3 → 0, 0.5, 2 → 0, -1, 1; and a constant 0.7: each third step."""
    currents = torch.tensor([1.5, 1.5, 0.5, 1.5, -1.0, 2.0])
    assert integrate_and_fire(currents).tolist() == [0, 1, 0, 1, 0, 0]
    constant = torch.tensor(0.7).expand(7)
    assert integrate_and_fire(constant).tolist() == [0, 0, 1, 0, 0, 1, 0]
    assert integrate_and_fire(torch.tensor([[-5.0, 9.0]] * 3)).tolist() == [[0, 1]] * 3


def test_the_twin_is_the_step_by_step_simulation() -> None:
    """fashion_cnn against a loop over time that keeps the state of every layer of neurons."""
    torch.manual_seed(0)
    network = build_backbone("fashion_cnn", {"width": 3, "image_size": 8}).eval()
    for parameter in network.parameters():
        parameter.data *= 6  # or the last layers are silent
    images, steps = torch.randn(5, 1, 8, 8), 6
    potentials: dict[str, Any] = {}
    fired, expected = torch.zeros(5), torch.zeros(5, 10)

    def fire(name: str, current: Tensor) -> Tensor:
        potentials[name] = potentials.get(name, 0) + current
        spikes = (potentials[name] >= 2).float()
        potentials[name] = potentials[name] * (1 - spikes)
        fired.add_(spikes.flatten(1).sum(1))
        return torch.as_tensor(spikes)

    layers = dict(network.named_children())
    with torch.no_grad():
        constant = layers["bn1"](layers["conv1"](images))
        for _ in range(steps):
            x = constant
            for name, layer in list(layers.items())[2:]:
                x = fire(name, x) if name.startswith("relu") else layer(x)
            expected += fire("output", x)
    found, spikes = SpikingTwin(network, steps)(images)
    assert expected.sum() > 0
    assert torch.equal(found, expected)
    assert torch.equal(spikes, fired)


def test_the_first_layer_is_evaluated_once_and_what_follows_at_each_step() -> None:
    rows: list[int] = []
    network = resnet().eval()
    network.stem.register_forward_hook(lambda *call: rows.append(len(call[2])))  # type: ignore[union-attr]
    network.head.register_forward_hook(lambda *call: rows.append(len(call[2])))  # type: ignore[union-attr]
    counts(network, torch.randn(3, 1, 8, 8), steps=5)
    assert rows == [3, 15]


def test_no_state_outlives_a_forward_pass() -> None:
    twin, images = SpikingTwin(resnet(), 6), torch.randn(4, 1, 8, 8)
    first, others = twin(images), twin(-images)
    again = twin(images)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], others[1])
    # Nor does an image see its neighbours.
    assert torch.equal(twin(images[2:])[1], first[1][2:])


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_functions_and_modules_and_constants_that_meet_spikes_are_one_network(batch: int) -> None:
    """relu in every spelling; the images themselves as shortcut, summed and concatenated."""
    torch.manual_seed(0)
    images, weight = torch.randn(batch, 4, 5, 5), nn.Conv2d(4, 4, 3, padding=1)
    relus: list[Callable[[Tensor], Tensor]] = [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        functional.relu,
        functional.relu6,
        torch.relu,
        lambda x: x.relu(),
        lambda x: x.clone().relu_(),
    ]

    def network(relu: Callable[[Tensor], Tensor]) -> nn.Module:
        def forward(x: Tensor) -> Tensor:
            y = relu(weight(x))
            y = x + 3 * relu(weight(y) + x)
            y += x
            return torch.cat([x, y, y], dim=1).mean((2, 3))

        return Step(forward)

    found = [counts(network(relu), images) for relu in relus]
    assert found[0].shape == (batch, 12)
    assert found[0].sum() > 0
    assert all(torch.equal(one, found[0]) for one in found)


def test_an_activation_without_a_spiking_counterpart_is_refused_in_a_sentence() -> None:
    for activation in (nn.GELU(), nn.SiLU(), nn.Hardtanh(), nn.Sigmoid(), nn.GroupNorm(1, 1)):
        with pytest.raises(EvaluationError, match="which has no spiking counterpart"):
            counts(activation, torch.randn(2, 1, 3))
    with pytest.raises(EvaluationError, match="relu got 6 rows for a batch of 2 in 4 time steps"):
        counts(Step(lambda x: x.flatten(0, 1).relu()), torch.randn(2, 3, 4))
    with pytest.raises(BackboneError, match=r"backbone 'convmixer' cannot spike: .* gelu"):
        SpikingEvaluator("convmixer", {"in_channels": 1}, load_dataset("digits", 0.5), SHORT)


def test_both_networks_of_the_paper_are_one_set_of_parameters() -> None:
    with torch.device("meta"):
        network = build_backbone("fashion_cnn", {})
        twin = SpikingTwin(network, 15)
    assert count_parameters(network) == count_parameters(twin) == 19_599_744
    assert count_parameters(nn.ModuleList([network, twin])) == 19_599_744


@pytest.mark.parametrize("plan", PLANS)
def test_parameters_are_the_same_objects_after_training_and_statistics_are_not(plan: str) -> None:
    network = resnet(plan)
    before = [tensor.clone() for tensor in network.parameters()]
    twin = SpikingTwin(network, 3)
    train_by_proxy(network, twin, random_batches(), SHORT, 0)
    own, others = dict(network.named_parameters()), dict(twin.network.named_parameters())
    assert own.keys() == others.keys()
    assert all(own[name] is others[name] for name in own)
    moved = [not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True)]
    assert moved == [tensor.requires_grad for tensor in network.parameters()]
    norms = list(zip(batch_norms(network), batch_norms(twin), strict=True))
    assert len(norms) == 13 + (3 if plan in ("filter_basis", "mixed") else 0)
    for a, b in norms:  # a regulated one does not let its weight be read by name
        assert a._parameters["weight"] is b._parameters["weight"]
        assert a.running_var is not b.running_var
    assert not all(torch.allclose(a.running_var, b.running_var) for a, b in norms)  # type: ignore[arg-type]
    result = score(twin, random_batches())
    assert 0 <= result["accuracy"] <= 1
    assert result["spikes"] > 0


@pytest.mark.parametrize("plan", ["unshared", "mixed"])
@pytest.mark.parametrize("target_spikes", [1, None])
def test_the_gradient_is_that_of_the_counts_sent_through_the_network(
    plan: str, target_spikes: float | None
) -> None:
    """With a target of one spike, the authors' own: the counts are the logits."""
    network, batch = resnet(plan), random_batches()
    twin = SpikingTwin(network, 12, target_spikes)
    scale = target_spikes or 12 / 2
    network.train()
    spikes, target = twin(batch.images)[0], functional.one_hot(batch.labels, 10).float()
    loss = proxy_loss(Proxy(network, twin), batch.images[None], batch.labels[None])
    own_loss = extra_loss(network)
    added = torch.zeros(()) if own_loss is None else own_loss
    assert torch.allclose(loss, ((spikes / scale - target) ** 2).mean() + added)
    assert (own_loss is not None) == (plan == "mixed")
    parameters = [p for p in network.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=True)
    logits = network(batch.images)
    by_hand = torch.autograd.grad(
        (logits * 2 * (spikes / scale - target) / target.numel()).sum() + added, parameters
    )
    for one, other in zip(found, by_hand, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_an_untrained_network_may_be_silent_and_learns_nevertheless() -> None:
    """Without a spike every squared error is that of the right class: 1 / classes on average."""
    torch.manual_seed(0)
    network = build_backbone("fashion_cnn", {"width": 2, "image_size": 8})
    batch, twin = random_batches(), SpikingTwin(network, 15)
    assert twin(batch.images)[0].sum() == 0
    loss = proxy_loss(Proxy(network, twin), batch.images[None], batch.labels[None])
    assert loss.item() == pytest.approx(0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert score(twin, batch)["accuracy"] == (batch.labels == 0).float().mean().item()


def test_statistics_are_learned_in_the_first_epoch_and_kept() -> None:
    """At the authors' rate. A mean of the first batches: nothing is left of the initial values."""
    data, runs = random_batches(40), {}
    for epochs in (1, 3):
        network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))
        settings = TrainingSettings(epochs, 8, KEEPING_RATE, "adamw")
        twin = SpikingTwin(network, 2)
        train_by_proxy(network, twin, Batches(data.images + 3, data.labels), settings, 0)
        runs[epochs] = batch_norms(network) + batch_norms(twin)
    for short, long in zip(runs[1], runs[3], strict=True):
        assert torch.equal(short.running_mean, long.running_mean)  # type: ignore[arg-type]
        assert not torch.equal(short.weight, long.weight)
        assert short.running_mean.item() == pytest.approx((data.images + 3).mean().item())  # type: ignore[union-attr]


def test_of_equal_counts_the_first_class_wins() -> None:
    network = Step(lambda x: x.flatten(1))
    images = torch.tensor([[2.0, 2.0], [0.0, 2.0], [0.0, 0.0]])[:, :, None, None]
    twin = SpikingTwin(network, 3)
    assert score(twin, Batches(images, torch.tensor([0, 1, 0]))) == {"accuracy": 1, "spikes": 3}
    assert score(twin, Batches(images, torch.tensor([1, 1, 1])))["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_loss_that_is_no_number_is_an_error_with_its_epoch(optimizer: Any) -> None:
    settings, network = TrainingSettings(3, 8, 1e30, optimizer), resnet()
    with pytest.raises(EvaluationError, match="the loss became nan in epoch"):
        train_by_proxy(network, SpikingTwin(network, 2), random_batches(), settings, 0)


def test_the_spiking_network_learns_digits() -> None:
    settings = TrainingSettings(epochs=8, batch_size=32, learning_rate=0.01, optimizer="adamw")
    arguments = {"depth": 8, "width": 8, "in_channels": 1}
    evaluator = SpikingEvaluator("resnet_cifar", arguments, load_dataset("digits", 0.1), settings)
    ((measured,),) = evaluator(SharingPlan(), (0,), "test")
    assert measured.values["accuracy"] >= 0.95
    assert 100 < measured.values["spikes"] < 15 * 2314  # every neuron at each step
    assert measured.seconds > 0


def test_the_same_seed_gives_the_same_values_and_leaves_the_random_state_alone() -> None:
    settings = TrainingSettings(1, 64, 0.01, "adamw")
    arguments = {"depth": 8, "width": 2, "in_channels": 1}
    dataset = load_dataset("digits", 0.5)
    evaluator = SpikingEvaluator("resnet_cifar", arguments, dataset, settings, time_steps=4)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    runs = [list(evaluator(SharingPlan(), (0, 1), "validation")) for _ in range(2)]
    assert torch.equal(torch.rand(3), expected)
    values = [[batch[0].values for batch in run] for run in runs]
    assert values[0] == values[1]
    assert values[0][0] != values[0][1]


@pytest.mark.parametrize("name", EVALUATORS)
def test_an_evaluator_measures_what_its_row_says(name: str) -> None:
    row = EVALUATORS[name]
    settings = TrainingSettings(1, 64, 0.01, "adamw")
    arguments = {"depth": 8, "width": 2, "in_channels": 1}
    measure = row.make("resnet_cifar", arguments, load_dataset("digits", 0.5), settings)
    for split in ("validation", "test"):
        batches = list(measure(SharingPlan(), (3, 4), split))
        assert [one.seed for batch in batches for one in batch] == [3, 4]
        assert all(set(one.values) == set(row.measures) for batch in batches for one in batch)
    assert set(row.measures) <= {key for key, one in OBJECTIVES.items() if one.exact is None}


def test_statistics_go_on_learning_while_the_learning_rate_is_high() -> None:
    """With kept ones and a high rate the logits, which the loss does not see, would explode."""
    dataset = load_dataset("digits", 0.5)
    arguments = {"depth": 8, "width": 4, "in_channels": 1}
    settings = TrainingSettings(4, 32, 0.003, "adamw")
    network = build_backbone("resnet_cifar", arguments)
    data = normalised(dataset.train, dataset.train)
    train_by_proxy(network, SpikingTwin(network, 6), data, settings, 0)
    assert network(data.normalised(data.images)).abs().max() < 100


def state(network: nn.Module, twin: SpikingTwin) -> list[Tensor]:
    return [t.clone() for part in (network, twin.network) for t in part.state_dict().values()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("plan", ["unshared", "mixed"])
def test_what_was_stopped_goes_on_to_the_same_bits(
    optimizer: Any, plan: str, tmp_path: Path
) -> None:
    """Weights, and the statistics of both networks; with dropout and augmented images."""
    settings = TrainingSettings(4, 8, 0.01, optimizer)
    data = replace(random_batches(), augmentation=Augmentation(crop=1, flip=True))

    def trained(**options: Any) -> list[Tensor]:
        network = nn.Sequential(resnet(plan), nn.Dropout(0.1))
        twin = SpikingTwin(network, 3)
        train_by_proxy(network, twin, data, settings, 5, **options)
        return state(network, twin)

    heard: list[int] = []
    path = tmp_path / "state.pt"
    trained(report=lambda epoch, *_: epoch == 2, checkpoint=path)
    resumed = trained(report=lambda epoch, *_: heard.append(epoch), checkpoint=path)
    assert heard == [3, 4]
    assert all(torch.equal(*pair) for pair in zip(resumed, trained(), strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_twin_sees_every_step_of_what_its_kernels_are_generated_from(
    optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused optimizers do not tell that they have moved the weights of a cached kernel."""
    settings = TrainingSettings(2, 8, 0.01, optimizer)
    runs = []
    for cached in (True, False):
        if not cached:
            monkeypatch.setattr(SliceGenerated, "made_weight", SliceGenerated.generate)
        network = resnet("slice_generator")
        twin = SpikingTwin(network, 6)
        train_by_proxy(network, twin, random_batches(), settings, 0)
        runs.append(state(network, twin))
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


def test_a_measurement_that_is_left_at_a_rung_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    settings = TrainingSettings(3, 64, 0.01, "adamw")
    arguments = {"depth": 8, "width": 2, "in_channels": 1}
    dataset, folder = load_dataset("digits", 0.5), tmp_path / "kept"
    evaluator = SpikingEvaluator("resnet_cifar", arguments, dataset, settings, folder, time_steps=4)
    measure = partial(evaluator, SharingPlan(), (0, 1), "validation")
    whole = [batch[0] for batch in measure()]
    steps: Any = measure((1, 2))
    first = next(steps)[0]
    steps.close()
    assert len(list(folder.iterdir())) == 1
    again = [batch[0] for batch in measure((1, 2))]
    assert [(one.seed, one.epochs) for one in again] == [
        *((0, 1), (0, 2), (0, None)),
        *((1, 1), (1, 2), (1, None)),
    ]
    assert again[0].values == first.values
    assert [again[2].values, again[5].values] == [one.values for one in whole]
    assert set(again[1].values) == {"accuracy", "spikes"}
    assert not folder.exists()
    longer = replace(evaluator, time_steps=5)
    names = {e.file_name(SharingPlan(), [0], settings) for e in (evaluator, longer)}
    assert len(names) == 2, "what is simulated otherwise is another training"
