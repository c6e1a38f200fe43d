"""Networks on the meta device: shared there, given memory, loaded, and one tensor still one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.errors import WeightsError
from tests.test_odd_networks import OPTIONS, Net, images, plan_by

CPU = "cpu"


def part_by_part(shared: nn.Module) -> nn.Module:
    for part in shared.modules():
        part.to_empty(device=CPU, recurse=False)
    return shared


WAYS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda shared: shared.to_empty(device=CPU),
    "inside another": lambda shared: nn.Sequential(shared).to_empty(device=CPU)[0],
    "a part at a time": part_by_part,
    "a copy": lambda shared: copy.deepcopy(shared).to_empty(device=CPU),
    "a pickle": lambda shared: pickle.loads(pickle.dumps(shared)).to_empty(device=CPU),
    "in another type": lambda shared: shared.double().float().to_empty(device=CPU),
    "twice": lambda shared: shared.to_empty(device=CPU).to_empty(device=CPU),
}


def on_meta(method: str) -> nn.Module:
    with torch.device("meta"):
        return apply_plan(Net(), plan_by(method)).eval()


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_shared_stays_shared_when_it_is_given_memory(
    way: Callable[[Any], Any], method: str
) -> None:
    usual = apply_plan(Net(), plan_by(method)).eval()
    network = way(on_meta(method))
    assert count_parameters(network) == count_parameters(usual)
    network.load_state_dict(usual.state_dict())
    assert torch.equal(network(images()), usual(images()))
    assert not any("_apply" in vars(part) for part in network.modules())


def test_ties_of_the_network_itself_are_kept_too() -> None:
    with torch.device("meta"):
        network = Net()
        network.norms[1].weight = network.norms[0].weight
        shared: Any = apply_plan(network, plan_by("kernel"))
    shared.to_empty(device=CPU)
    assert shared.norms[1].weight is shared.norms[0].weight
    assert shared.norms[2].weight is not shared.norms[0].weight
    assert "_apply" not in vars(network.norms[0]), "the original is as it was"


def test_nothing_is_inherited_from_the_meta_device() -> None:
    with torch.device("meta"):
        network = Net()
        for method in OPTIONS:
            with pytest.raises(WeightsError, match=r"'body.0' are on the meta device.*'fresh'"):
                apply_plan(network, plan_by(method), weights="inherit")


def test_the_way_out_of_a_refused_assignment_is_one() -> None:
    shared = apply_plan(Net(), plan_by("kernel"))
    state = shared.state_dict()
    with pytest.raises(WeightsError, match="load without it"):
        shared.load_state_dict(state, assign=True)
    shared.load_state_dict(state)
