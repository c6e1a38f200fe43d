"""Hidden channels are found where they may be renumbered, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.space.backbones import build_backbone
from isoshare.space.passes.hidden_channels import hidden_channels


@torch.no_grad()
def used(network: nn.Module) -> nn.Module:
    """With statistics, scales and biases that tell channels apart."""
    torch.manual_seed(0)
    parts: list[Any] = list(network.modules())
    for part in parts:
        if hasattr(part, "running_var"):
            for tensor in (part.running_mean, part.bias):
                tensor.normal_()
            for tensor in (part.running_var, part.weight):
                tensor.uniform_(0.5, 1.5)
    return network.eval()


@torch.no_grad()
def moved(network: nn.Module, *shape: int) -> float:
    """How far outputs move when all that is found is renumbered at random, of their largest."""
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    before = network(images)
    for channels in hidden_channels(network):
        channels.renumber(network, torch.randperm(channels.count))
    return float((network(images) - before).abs().max() / before.abs().max())


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("resnet_cifar", {"depth": 20}, 9),
        ("resnet18", {"classes": 10}, 11),
        ("mobilenet_v2", {"classes": 10}, 24),
        ("torchvision.models:mobilenet_v3_small", {"num_classes": 10}, 26),
    ],
)
def test_networks_compute_the_same_in_any_order(
    name: str, arguments: dict[str, Any], found: int
) -> None:
    network = used(build_backbone(name, arguments))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    channels = hidden_channels(network)
    assert len(channels) == found
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert moved(network, 3, 32, 32) < 1e-5
    after = network.state_dict()
    for one in channels:
        kernels = [f"{member}.weight" for member, role in one.members if role != "carries"]
        assert not any(torch.equal(after[key], before[key]) for key in kernels)


def test_depthwise_kernels_move_with_their_channels() -> None:
    members = {
        member: role
        for channels in hidden_channels(build_backbone("mobilenet_v2", {"classes": 10}))
        for member, role in channels.members
        if member.startswith("features.3.conv")
    }
    assert members["features.3.conv.1.0"] == "carries", "the depthwise convolution"
    assert members["features.3.conv.1.1"] == "carries", "its normalisation"
    assert members["features.3.conv.2"] == "reads"


class Between(nn.Module):
    """Two convolutions with something in between."""

    def __init__(self, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.what(self.first(x)))
        return y


HARMLESS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda x: x,
    "an activation": lambda x: functional.relu(x, inplace=False),
    "a gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "a sum": lambda x: x + functional.silu(x) * 0.5,
}
HARMFUL: dict[str, Callable[[Tensor], Tensor]] = {
    "a reversal": lambda x: x.flip(1),
    "a choice": lambda x: torch.cat([x[:, :2], x[:, 2:].relu()], 1),
    "a softmax": lambda x: x.softmax(1),
    "a mean of channels": lambda x: x + x.mean(1, keepdim=True) * x[:, :1],
    "numbers for each": lambda x: x + torch.arange(8.0).view(1, -1, 1, 1),
    "a shuffle": nn.ChannelShuffle(2),
    "groups": nn.GroupNorm(2, 8),
    "a slope for each": nn.PReLU(8),
    "a grouped convolution": nn.Conv2d(8, 8, 1, groups=2),
    "a control flow": lambda x: x.flip(1) if float(x.detach().sum()) > 0 else x,
}


@pytest.mark.parametrize("what", HARMLESS.values(), ids=HARMLESS)
def test_what_treats_channels_alike_lets_them_move(what: Callable[[Tensor], Tensor]) -> None:
    network = Between(what)
    (channels,) = hidden_channels(network)
    assert channels.members == (("first", "writes"), ("second", "reads"))
    assert moved(network, 3, 8, 8) < 1e-5


@pytest.mark.parametrize("what", HARMFUL.values(), ids=HARMFUL)
def test_what_tells_channels_apart_keeps_them_in_place(what: Callable[[Tensor], Tensor]) -> None:
    network = used(Between(what))
    assert hidden_channels(network) == ()
    assert moved(network, 3, 8, 8) == 0


def _tie(network: Between) -> None:
    network.third = nn.Conv2d(8, 4, 3)
    network.third.weight = network.second.weight


def _hold(network: Between) -> None:
    setattr(network, "kernels", [network.first.weight])  # noqa: B010  mypy takes it for a module


def _watch(network: Between) -> None:
    network.first.register_forward_hook(lambda *_: None)


class Reading(Between):
    """Reads a weight past its layer, in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + self.second.weight[0, :, 0, 0].cumsum(0)[3] if self.training else y


@pytest.mark.parametrize("change", [_tie, _hold, _watch])
def test_what_others_hold_or_look_at_stays(change: Callable[[Between], None]) -> None:
    network = Between(HARMLESS["nothing"])
    assert hidden_channels(network)
    change(network)
    assert hidden_channels(network) == ()


def test_what_is_done_in_training_alone_counts_too() -> None:
    network = Reading(HARMLESS["nothing"])
    for training in (True, False):
        assert hidden_channels(network.train(training)) == ()


def test_what_goes_out_or_is_of_another_shape_stays() -> None:
    class Two(Between):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            y = self.first(x)
            return self.second(y), y

    assert hidden_channels(Two(HARMLESS["nothing"])) == ()
    rows = nn.Sequential(nn.Linear(5, 6), nn.AvgPool1d(3, 1, 1), nn.Linear(6, 2))
    assert hidden_channels(rows) == (), "it pools over features"

    class Averaged(Between):
        def __init__(self) -> None:
            super().__init__(lambda x: x * x.mean((2,), keepdim=True))
            self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 2)  # type: ignore[assignment]

    assert hidden_channels(Averaged()) == (), "the mean is over features"
    plain = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    assert [one.count for one in hidden_channels(plain)] == [6]
