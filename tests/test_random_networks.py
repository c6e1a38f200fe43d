"""Random networks of sites of all kinds under random plans keep every promise of a plan."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from isoshare import Bank, PlanError, SharingPlan, apply_plan, count_parameters, find_sites
from isoshare.space.apply import bake, plan_parameters
from isoshare.space.methods import METHODS
from isoshare.space.sites import Site, isomorphic_groups

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
SIDE = 4


class Chain(nn.Module):
    """Layers one after the other, with normalisation and activation between them."""

    def __init__(self, layers: list[nn.Module], dimensions: int, channels: int) -> None:
        super().__init__()
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(norm(channels) for _ in layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, side, ...)."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = layer(x.movedim(1, -1)).movedim(-1, 1) if isinstance(layer, nn.Linear) else layer(x)
            x = torch.relu(norm(y)) + x
        return x


@st.composite
def networks(draw: st.DrawFn) -> tuple[Chain, Tensor]:
    """A chain and a batch of images for it."""
    dimensions, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2]))
    channels = groups * draw(st.integers(1, 4))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(2, 6))):
        kind, bias = (
            draw(st.sampled_from(["convolution", "transposed", "linear"])),
            draw(st.booleans()),
        )
        if kind == "linear":
            layers.append(nn.Linear(channels, channels, bias=bias))
            continue
        make = (CONVOLUTIONS if kind == "convolution" else TRANSPOSED)[dimensions - 1]
        size = draw(st.sampled_from([1, 3]))
        how: dict[str, Any] = {"padding": size // 2, "groups": groups, "bias": bias}
        layers.append(make(channels, channels, size, **how))
    return Chain(layers, dimensions, channels), torch.randn(3, channels, *[SIDE] * dimensions)


@st.composite
def options(draw: st.DrawFn, method: str, site: Site) -> dict[str, Any]:
    """Options of a method that fit a site."""
    small = st.integers(1, 4)
    ranks = {
        "shared_rank": site.groups * draw(small),
        "unique_rank": site.groups * draw(st.integers(0, 2)),
    }
    return {
        "kernel": {},
        "anchored": {"every": draw(st.integers(1, 2))},
        "filter_basis": ranks,
        "slice_generator": {"slice_size": draw(small), "code_size": draw(small)},
        "low_rank": {"rank": draw(small)},
    }[method]


@st.composite
def plans(draw: st.DrawFn, network: nn.Module) -> SharingPlan:
    """Banks of some of the isomorphic groups, by methods that take them."""
    banks = []
    for group in isomorphic_groups(find_sites(network)):
        method = draw(st.sampled_from(list(METHODS)))
        chosen = draw(options(method, group[0]))
        try:
            METHODS[method].implementation.check(group, chosen)
        except PlanError:
            continue
        banks.append(Bank(method, chosen, tuple(site.name for site in group)))
    return SharingPlan(tuple(banks))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_plans_of_random_networks_keep_every_promise(data: st.DataObject) -> None:
    torch.manual_seed(0)
    network, images = data.draw(networks())
    before = copy.deepcopy(network.state_dict())
    plan = data.draw(plans(network))
    shared = apply_plan(network, plan)
    expected = plan_parameters(plan, find_sites(network), count_parameters(network))
    assert count_parameters(shared) == expected
    _learns(shared, images)
    _survives(shared, apply_plan(network, plan), plan, images)
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def _learns(shared: nn.Module, images: Tensor) -> None:
    """Gradient reaches every tensor; a residual starts at zero, so the second step tells."""
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1)
    aim = torch.randn(images.shape)
    for _ in range(2):
        optimizer.zero_grad()
        (shared(images) * aim).sum().backward()
        optimizer.step()
    assert all(tensor.grad is not None for tensor in shared.parameters())


def _survives(shared: Any, fresh: nn.Module, plan: SharingPlan, images: Tensor) -> None:
    """Pickled, loaded into another network of this plan, and baked, it computes the same."""
    with torch.no_grad():
        expected = shared.eval()(images)
        assert torch.equal(pickle.loads(pickle.dumps(shared))(images), expected)
        fresh.load_state_dict(shared.state_dict())
        assert torch.equal(fresh.eval()(images), expected)
        baked = bake(shared, plan)(images)
        scale = float(expected.abs().max().clamp_min(1))
        assert torch.allclose(baked, expected, rtol=1e-4, atol=1e-4 * scale)
