"""What a plan costs, counted twice: in closed form, and on the network that it builds."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from isoshare.evaluators.objectives import OBJECTIVES, exact_values
from isoshare.space.apply import apply_plan, bake, count_parameters, deployed
from isoshare.space.backbones import build_backbone
from isoshare.space.costs.closed_form import (
    NetworkCosts,
    activation_bytes,
    device_bytes,
    stored_bytes,
    total_macs,
)
from isoshare.space.errors import IsoshareError
from isoshare.space.methods import METHODS
from isoshare.space.methods.device import TARGETS
from isoshare.space.passes.device_use import device_use
from isoshare.space.passes.forward_pass import (
    count_activations,
    count_bytes,
    count_macs,
    network_costs,
)
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from tests.fakes import ThreeSites, first_options, space_of
from tests.test_methods import METHOD_NAMES, VARIANTS, Net, body_sites, images, plan_of

BACKBONES: tuple[tuple[str, dict[str, int]], ...] = (
    ("resnet_cifar", {"depth": 8, "width": 4}),
    ("se_resnet", {}),
    ("densenet_bc", {}),
)


class Residual(nn.Module):
    """A block whose input waits while its convolutions compute, and that is run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(layer for _ in range(2) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()))
        )
        self.small = nn.Conv2d(3, 2, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, height, width)."""
        for _ in range(2):
            x = x + self.body(x)
        return torch.mean(self.small(x), dim=(2, 3))


def assert_counted_twice(network: nn.Module, plan: SharingPlan, image: Tensor) -> None:
    sites = find_sites(network)
    costs = network_costs(network, sites, image)
    shared = apply_plan(network, plan).eval()
    with torch.no_grad():
        shared(image)  # generated kernels are cached here
    assert total_macs(plan, sites, costs) == count_macs(shared, image)
    assert stored_bytes(plan, sites, costs) == count_bytes(shared)
    assert activation_bytes(plan, sites, costs) == count_activations(shared, image)
    ordinary = _generated(deployed(shared, plan), plan)
    _, held = device_use(ordinary, (), image)
    for target in TARGETS:
        assert device_bytes(plan, sites, costs, target) == held.bytes(target)


def _generated(network: nn.Module, plan: SharingPlan) -> nn.Module:
    """With the kernels that a runtime makes."""
    banks = [bank for bank in plan.banks if bank.method in ("slice_generator", "low_rank")]
    return bake(network, SharingPlan(tuple(banks)))


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_every_method_is_counted_twice(method: str, options: dict[str, Any]) -> None:
    network = Net()
    assert_counted_twice(network, plan_of(method, options, network), images(1))
    twice = Residual()
    if options.get("regulator_after") != "batch_norm":
        banks = (Bank(method, options, ("body.0", "body.2")),)
        assert_counted_twice(twice, SharingPlan(banks), torch.randn(1, 3, 6, 6))


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_mixed_plans_are_counted_twice(data: st.DataObject) -> None:
    network = Net(data.draw(st.integers(1, 9)), sites=6)
    names = list(body_sites(network))
    cut = sorted(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=2)))
    small = st.integers(1, 12)
    banks = []
    for part in (names[: cut[0]], names[cut[0] : cut[1]], names[cut[1] :]):
        place = data.draw(st.sampled_from(["convolution", "batch_norm"]))
        kind = data.draw(st.sampled_from(["trained", "reused", "binary"]))
        ranks = {"shared_rank": data.draw(small), "unique_rank": data.draw(st.integers(0, 5))}
        sizes = {"slice_size": data.draw(small), "code_size": data.draw(small)}
        options: dict[str, dict[str, Any]] = {
            **first_options(),
            "kernel": {},
            "anchored": {"every": data.draw(st.integers(1, 3)), "regulator_after": place},
            "filter_basis": ranks,
            "slice_generator": {**sizes, "generator": kind},
            "low_rank": {"rank": ranks["shared_rank"]},
        }
        method = data.draw(st.sampled_from(METHOD_NAMES))
        banks += [Bank(method, options[method], tuple(part))] if part else []
    assert_counted_twice(network, SharingPlan(tuple(banks)), images(1))


@pytest.mark.parametrize(("name", "arguments"), BACKBONES)
def test_random_plans_of_backbones_are_counted_twice_and_below_the_reference(
    name: str, arguments: dict[str, int]
) -> None:
    network, image = build_backbone(name, arguments), torch.randn(1, 3, 16, 16)
    sites = find_sites(network)
    costs = network_costs(network, sites, image)
    space = SearchSpace(sites, count_parameters(network), tuple(METHODS), costs=costs)
    rng = random.Random(0)
    assert_counted_twice(network, space.random_plan(rng), image)
    names = [name for name, row in OBJECTIVES.items() if row.exact is not None]
    worst = {name: OBJECTIVES[name].worst(space) for name in names}
    for plan in (SharingPlan(), *(space.random_plan(rng) for _ in range(60))):
        values = exact_values(names, space, plan)
        assert all(values[name] < (worst[name] or 0) for name in names)


def test_bytes_are_those_of_a_file_without_names_and_copies(tmp_path: Path) -> None:
    network = Net()
    plan = plan_of("filter_basis", {"shared_rank": 3, "unique_rank": 1}, network)
    shared = apply_plan(network, plan)
    once = {id(tensor): tensor for tensor in shared.state_dict(keep_vars=True).values()}
    torch.save([tensor.detach() for tensor in once.values()], tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        found = [one.file_size for one in archive.infolist() if "/data/" in one.filename]
    sites = find_sites(network)
    assert stored_bytes(plan, sites, network_costs(network, sites, images(1))) == sum(found)


def test_activations_are_what_waits_and_what_is_made() -> None:
    """The image, of 2x9x9 numbers, and of the maps, which are as large, two at once."""
    network, image = ThreeSites(), torch.zeros(1, 2, 9, 9)
    one = 4 * 2 * 9 * 9
    assert count_activations(network.eval(), image) == 3 * one
    assert network_costs(network, find_sites(network), image).peak == 3 * one


def test_the_network_and_its_mode_stay_as_they_are() -> None:
    network = Net().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network_costs(network, find_sites(network), images(1))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_costs_come_back_from_the_database_as_they_were() -> None:
    network = Net()
    costs = network_costs(network, find_sites(network), images(1))
    assert NetworkCosts.of(json.loads(json.dumps(costs.document()))) == costs


def test_a_study_of_an_earlier_version_says_that_it_did_not_count_a_device() -> None:
    network = Net()
    document = network_costs(network, find_sites(network), images(1)).document()
    del document["rest"], document["uses"]
    costs = NetworkCosts.of(json.loads(json.dumps(document)))
    with pytest.raises(IsoshareError, match="did not count what a device holds"):
        device_bytes(SharingPlan(), find_sites(network), costs, "int8")


def test_a_space_that_was_told_no_costs_says_so() -> None:
    with pytest.raises(IsoshareError, match="knows only parameters: for macs"):
        space_of(3).macs(SharingPlan())


@pytest.mark.parametrize(
    "name", [name for name, row in OBJECTIVES.items() if row.of_an_image and row.exact]
)
def test_the_cheapest_plan_of_a_small_space_is_found(name: str) -> None:
    row = OBJECTIVES[name]
    assert row.exact is not None
    network, image = ThreeSites(4), torch.zeros(1, 2, 9, 9)
    sites = find_sites(network)
    costs = network_costs(network, sites, image)
    space = SearchSpace(sites, count_parameters(network), tuple(METHODS), costs=costs)
    exact = row.exact
    every = [exact(space, plan) for plan in space.plans()]
    assert exact(space, space.cheapest(lambda plan: exact(space, plan))) == min(every)
    assert row.worst(space) == pytest.approx(1.1 * max(every))
