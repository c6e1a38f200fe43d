"""Hidden channels are brought into an order in which kernels to be tied agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan
from isoshare.evaluators.inheriting import channel_alignment
from isoshare.evaluators.inheriting.channel_alignment import TrainedNetwork, aligned
from isoshare.evaluators.inheriting.fisher_information import fisher
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit
from isoshare.evaluators.sensitivities.output_matching import BATCH, IMAGES, input_statistics
from isoshare.evaluators.training.batches import Batches
from isoshare.space.passes.hidden_channels import HiddenChannels, hidden_channels

WIDTH, HIDDEN = 4, 12


class Block(nn.Module):
    """An inverted residual block: wider, a kernel for each channel, narrower."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.norm = nn.Conv2d(WIDTH, HIDDEN, 1, bias=False), nn.BatchNorm2d(HIDDEN)
        self.depthwise = nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1, groups=HIDDEN)
        self.project = nn.Conv2d(HIDDEN, WIDTH, 1, bias=False)
        self.last = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.norm(self.expand(x)).relu()).relu()
        z: Tensor = self.last(self.project(y))
        return x + z


class Blocks(nn.Module):
    """Three of them and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


class Several(Blocks):
    """Answers as networks for segmentation do."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x), "others": None}


def data() -> Batches:
    images = torch.randn(64, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    return Batches(images, torch.arange(64) % 3)


def images() -> Tensor:
    return data().images


def network() -> nn.Module:
    """Blocks that have equal kernels, with channels that stand in orders of their own."""
    torch.manual_seed(0)
    made = Blocks()
    first, *others = made.blocks.children()
    for block in others:
        block.load_state_dict(first.state_dict())
    for channels in hidden_channels(made):
        if channels.count == HIDDEN:
            channels.renumber(made, torch.randperm(HIDDEN))
    calibrate(made, data())
    return made.eval()


def measured(source: nn.Module) -> TrainedNetwork:
    inputs = input_statistics(source, data().first(IMAGES, BATCH))
    return TrainedNetwork(source, fisher(source, data()), inputs)


def tied(*kinds: str) -> SharingPlan:
    sites = (tuple(f"blocks.{place}.{kind}" for place in range(3)) for kind in kinds)
    return SharingPlan(tuple(Bank("kernel", {}, some) for some in sites))


PLANS = [tied("expand", "depthwise", "project"), tied("expand"), tied("depthwise"), tied("project")]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{len(plan.banks)} {plan.banks[0].sites}")
def test_equal_kernels_in_other_orders_are_tied_without_loss(plan: SharingPlan) -> None:
    source = measured(network())
    before = {name: one.clone() for name, one in source.network.state_dict().items()}
    found = aligned(source, plan, images())
    _, lost = inherit(found.network, plan, found.importance)
    _, as_it_was = inherit(source.network, plan, source.importance)
    assert sum(lost.values()) < 1e-5
    assert sum(as_it_was.values()) > 0.1
    shared, _ = inherit(found.network, plan, found.importance)
    calibrate(shared, data())
    assert torch.allclose(shared(images()), source.network(images()), atol=1e-4)
    assert all(torch.equal(one, before[name]) for name, one in source.network.state_dict().items())


def test_what_was_measured_is_as_if_it_were_measured_again() -> None:
    found = aligned(measured(network()), PLANS[0], images())
    again = measured(found.network)
    for name, tensor in found.importance.items():
        assert torch.allclose(tensor, again.importance[name], rtol=1e-3, atol=1e-9), name
    for name, one in found.inputs.items():
        for field in ("covariance", "mean"):
            known, expected = getattr(one, field), getattr(again.inputs[name], field)
            assert torch.allclose(known, expected, rtol=1e-3, atol=1e-5), name


def test_several_outputs_are_all_compared() -> None:
    source = Several()
    source.load_state_dict(network().state_dict())
    known = measured(source.eval())
    assert aligned(known, PLANS[0], images()).network is not source


def test_sites_of_other_shapes_may_be_in_one_bank() -> None:
    source, sites = measured(network()), ("blocks.0.expand", "blocks.1.expand", "blocks.0.project")
    options = {"slice_size": 4, "code_size": 4}
    plan = SharingPlan((Bank("slice_generator", options, sites),))
    assert aligned(source, plan, images()).network is not source.network


def test_without_covariances_kernels_alone_decide() -> None:
    source = measured(network())
    source.inputs = {}
    found = aligned(source, PLANS[0], images())
    assert sum(inherit(found.network, PLANS[0])[1].values()) < 1e-5


def test_nothing_changes_where_there_is_nothing_to_gain() -> None:
    source = measured(network())
    assert aligned(source, SharingPlan(), images()).network is not source.network
    found = aligned(source, SharingPlan(), images()).network.state_dict()
    assert all(torch.equal(one, found[key]) for key, one in source.network.state_dict().items())
    watched = network()
    watched.register_forward_hook(lambda *_: None)
    known = measured(watched)
    assert aligned(known, PLANS[0], images()) is known


def test_an_order_that_changes_what_is_computed_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = HiddenChannels(HIDDEN, (("blocks.1.expand", "writes"), ("blocks.1.project", "reads")))
    monkeypatch.setattr(channel_alignment, "hidden_channels", lambda network: (wrong,))
    source = measured(network())
    assert aligned(source, PLANS[0], images()) is source
