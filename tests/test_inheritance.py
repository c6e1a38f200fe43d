"""Trained weights are taken over on request, and never lost without a word."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from isoshare.space.apply import apply_plan
from isoshare.space.errors import WeightsError
from isoshare.space.inheritance import TrainedWeightsWarning, signs_of_training
from isoshare.space.plan import SharingPlan
from tests.test_odd_networks import OPTIONS, Net, images, plan_by


def trained() -> nn.Module:
    """A network whose normalisations have seen images."""
    torch.manual_seed(0)
    network = Net().train()
    network(images())
    return network.eval()


@pytest.mark.parametrize("method", OPTIONS)
def test_inherited_weights_come_closer_than_fresh_ones(method: str) -> None:
    network: Any = trained()
    before = copy.deepcopy(network.state_dict())
    far = []
    for weights in ("inherit", "fresh"):
        shared: Any = apply_plan(network, plan_by(method), weights=weights)
        pairs = zip(shared.body, network.body, strict=True)
        far.append(sum(float((one.weight - two.weight).detach().norm()) for one, two in pairs))
    assert far[0] < far[1]
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("sign", ["statistics", "scales"])
def test_a_trained_network_is_named_where_its_weights_would_be_lost(sign: str) -> None:
    network: Any = trained() if sign == "statistics" else Net()
    if sign == "scales":
        nn.init.normal_(network.norms[1].weight)
    assert "norms." in signs_of_training(network)
    with pytest.warns(TrainedWeightsWarning, match=r"Net is not freshly .*weights='inherit'"):
        apply_plan(network, plan_by("kernel"))
    apply_plan(network, SharingPlan())
    assert signs_of_training(Net()) == ""


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_scripted_parts_are_looked_at_as_others_are() -> None:
    network = nn.Sequential(Net(), torch.jit.script(nn.Conv2d(3, 3, 1)))
    assert signs_of_training(network) == ""
    network[0](images()).sum()
    assert "has seen 1 batches" in signs_of_training(network)


@pytest.mark.parametrize("method", OPTIONS)
def test_a_state_that_would_be_assigned_is_refused(method: str) -> None:
    """Each place would get a tensor of its own, and what is shared would be trained apart."""
    shared = apply_plan(Net(), plan_by(method))
    with pytest.raises(WeightsError, match=r"assign=True.*load without it"):
        shared.load_state_dict(shared.state_dict(), assign=True)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_state_of_an_unshared_network_is_refused(wrapped: bool) -> None:
    unshared, shared = Net(), apply_plan(Net(), plan_by("kernel"))
    unshared.load_state_dict(shared.state_dict())
    shared.load_state_dict(unshared.state_dict())  # tensors that agree are welcome
    pair = (Net(), pickle.loads(pickle.dumps(shared)))
    source, into = map(DataParallel, pair) if wrapped else pair
    with pytest.raises(WeightsError, match=r"body\.0\.weight' and '.*body\.1\.weight' are one"):
        into.load_state_dict(source.state_dict())
