"""Random networks of sites of all kinds under random plans keep every promise of a plan."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from isoshare import Bank, PlanError, SharingPlan, apply_plan, count_parameters, find_sites
from isoshare.space.apply import bake, deployed, plan_parameters
from isoshare.space.layers import CONVOLUTIONS, NORMS, TRANSPOSED
from isoshare.space.methods import METHODS
from isoshare.space.sites import Site, isomorphic_groups
from tests.fakes import first_options

SIDE = 4
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-10}


class Perceptron(nn.Sequential):
    """Linear layers that mix the channels at each position."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, side, ...)."""
        x = x.movedim(1, -1)
        for layer in self:
            x = layer(x)
        return x.movedim(-1, 1)


class Step(nn.Module):
    """One layer, or one that widens and one that narrows, normalised, beside a shortcut."""

    def __init__(self, layers: nn.Module, dimensions: int, channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.norm = NORMS[dimensions](channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, side, ...)."""
        return torch.tanh(self.norm(self.layers(x))) + x


@st.composite
def convolutions(draw: st.DrawFn, dimensions: int, channels: int) -> nn.Module:
    """One that keeps the size of an image, in any number of groups, or a pair."""
    shape = draw(st.sampled_from(["one", "widening", "hourglass"]))
    groups = draw(st.sampled_from([1, 2, channels]))
    bias = draw(st.booleans())
    convolution, transposed = CONVOLUTIONS[dimensions - 1], TRANSPOSED[dimensions - 1]
    if shape == "hourglass":
        half: dict[str, Any] = {"stride": 2, "padding": 1, "groups": groups, "bias": bias}
        down = convolution(channels, 2 * channels, 3, **half)
        up = transposed(2 * channels, channels, 3, output_padding=1, **half)
        return nn.Sequential(down, up)
    sides = draw(st.tuples(*[st.sampled_from([1, 3])] * dimensions))
    dilation = draw(st.sampled_from([1, 2]))
    how: dict[str, Any] = {"dilation": dilation, "groups": groups, "bias": bias}
    how["padding"] = tuple(dilation * (side // 2) for side in sides)
    kind = draw(st.sampled_from([convolution, transposed]))
    if kind is convolution:
        how["padding_mode"] = draw(st.sampled_from(["zeros", "circular"]))
    if shape == "one":
        return nn.Sequential(kind(channels, channels, sides, **how))
    wide = kind(channels, 2 * channels, sides, **how)
    return nn.Sequential(wide, kind(2 * channels, channels, sides, **how))


@st.composite
def linears(draw: st.DrawFn, channels: int) -> nn.Module:
    """One, or the pair of a perceptron."""
    bias = draw(st.booleans())
    if draw(st.booleans()):
        return Perceptron(nn.Linear(channels, channels, bias))
    wide = nn.Linear(channels, 3 * channels, bias)
    return Perceptron(wide, nn.Linear(3 * channels, channels, bias))


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A network and a batch of images for it; each kind of step comes several times."""
    dimensions, channels = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 3))
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        layers = draw(st.one_of(linears(channels), convolutions(dimensions, channels)))
        steps += [Step(copy.deepcopy(layers), dimensions, channels) for _ in range(2)]
        steps += [Step(layers, dimensions, channels)] * draw(st.integers(0, 1))
    network = nn.Sequential(*steps)
    for part in network.modules():
        if getattr(part, "bias", None) is not None and not draw(st.integers(0, 5)):
            part.bias.requires_grad_(False)
    kind = draw(st.sampled_from(list(CLOSE)))
    images = torch.randn(3, channels, *[SIDE] * dimensions)
    return network.to(kind), images.to(kind)


@st.composite
def options(draw: st.DrawFn, method: str, site: Site) -> dict[str, Any]:
    """Options of a method that fit a site."""
    small = st.integers(1, 4)
    ranks = {
        "shared_rank": site.groups * draw(small),
        "unique_rank": site.groups * draw(st.integers(0, 2)),
        "orthogonality": draw(st.sampled_from([0.0, 10.0])),
    }
    generator = {
        "slice_size": draw(small),
        "code_size": draw(small),
        "generator": draw(st.sampled_from(["trained", "trained", "binary", "reused"])),
    }
    made: dict[str, dict[str, Any]] = {
        **first_options(),
        "kernel": {},
        "anchored": {"every": draw(st.integers(1, 2))},
        "filter_basis": ranks,
        "slice_generator": generator,
        "low_rank": {"rank": draw(small)},
    }
    return made[method]


@st.composite
def plans(draw: st.DrawFn, network: nn.Module) -> SharingPlan:
    """Banks by methods that take them: of some isomorphic groups, of parts of some, and sometimes
    of sites that have no more in common than the size of their kernels.
    """
    sites, banks = find_sites(network), []
    groups: list[tuple[Site, ...]] = list(isomorphic_groups(sites))
    if draw(st.booleans()):
        size = draw(st.sampled_from([site.kernel_size for site in sites]))
        groups = [tuple(site for site in sites if site.kernel_size == size)]
    for group in groups:
        method = draw(st.sampled_from(list(METHODS)))
        labels = draw(st.lists(st.integers(0, 2), min_size=len(group), max_size=len(group)))
        for label in (0, 1):
            members = [site for site, own in zip(group, labels, strict=True) if own == label]
            if members:
                chosen = draw(options(method, members[0]))
                names = tuple(site.name for site in members)
                banks += _accepted(Bank(method, chosen, names), members)
    return SharingPlan(tuple(banks))


def _accepted(bank: Bank, sites: list[Site]) -> list[Bank]:
    try:
        METHODS[bank.method].implementation.check(sites, bank.options)
    except PlanError:
        return []
    return [bank]


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_random_plans_of_random_networks_keep_every_promise(data: st.DataObject) -> None:
    torch.manual_seed(0)
    network, images = data.draw(networks())
    before = copy.deepcopy(network.state_dict())
    plan = data.draw(plans(network))
    shared = apply_plan(network, plan, sample=images)
    expected = plan_parameters(plan, find_sites(network), count_parameters(network))
    assert count_parameters(shared) == expected
    _learns(shared, images)
    _survives(shared, apply_plan(network, plan), plan, images)
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def _learns(shared: nn.Module, images: Tensor) -> None:
    """Gradient reaches every tensor; a residual starts at zero, so the second step tells, and the
    normalisation behind a bias takes it away.
    """
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1)
    aim = torch.randn_like(images)
    for _ in range(2):
        optimizer.zero_grad()
        (shared(images) * aim).mean().backward()
        optimizer.step()
    for name, tensor in shared.named_parameters():
        assert (tensor.grad is not None) == tensor.requires_grad, name
        assert tensor.dim() < 2 or tensor.grad is None or tensor.grad.abs().max() > 0, name


def _survives(shared: Any, fresh: nn.Module, plan: SharingPlan, images: Tensor) -> None:
    """Pickled, saved, loaded into another network of this plan, and baked, it computes the same."""
    file = io.BytesIO()
    torch.save(shared.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        expected = shared.eval()(images)
        assert torch.equal(pickle.loads(pickle.dumps(shared))(images), expected)
        assert torch.equal(copy.deepcopy(shared)(images), expected)
        fresh.load_state_dict(torch.load(file))
        assert torch.equal(fresh.eval()(images), expected)
        for plain in (bake(shared, plan), deployed(shared, plan)):
            scale = CLOSE[images.dtype]
            most = scale * float(expected.abs().max().clamp_min(1))
            assert torch.allclose(plain(images), expected, rtol=scale, atol=most)
