"""Copies of networks are what ``copy.deepcopy`` makes of them, only sooner."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from isoshare.space.network_copy import copy_network


class Known(nn.Conv2d):
    """A layer that copies itself."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Known:
        Known.copies += 1
        made = Known(2, 2, 1)
        made.load_state_dict(self.state_dict())
        return made


def tangled() -> nn.Sequential:
    """A layer that is there twice, buffers of one memory, a way back to the whole."""
    norm, layer = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
    network: Any = nn.Sequential(layer, norm, layer, Known(2, 2, 1), nn.Sequential(norm))
    norm.register_buffer("part", norm.running_mean[:1])  # type: ignore[index]
    norm.register_buffer("plain", torch.arange(3.0))
    norm.running_var.note = "kept"  # type: ignore[union-attr]
    network[4].way_back = [network]
    network.nothing = network[4].nothing = OrderedDict()
    network.things = {"layer": layer, "numbers": [1, {2}]}
    return network  # type: ignore[no-any-return]


def structure(network: Any) -> tuple[Any, ...]:
    """What is the same object as what, within a network."""
    norm = network[1]
    return (
        network[2] is network[0] is network.things["layer"],
        network[4][0] is norm,
        norm.part.untyped_storage().data_ptr() == norm.running_mean.untyped_storage().data_ptr(),
        network[4].way_back[0] is network,
        network.nothing is network[4].nothing,
        norm.running_var.note,
        network.things["numbers"],
        list(dict(network.named_modules(remove_duplicate=False))),
    )


def test_a_copy_is_a_deep_copy() -> None:
    network = tangled()
    copied, expected, copies = copy_network(network), copy.deepcopy(network), Known.copies
    assert copies == 2, "a class that copies itself is asked"
    assert structure(copied) == structure(expected) == structure(network)
    assert structure(copied)[0] is True
    for (name, one), other in zip(
        copied.state_dict().items(), network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
        assert one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr(), name


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*deprecated")
def test_a_copy_of_a_scripted_part_can_be_trained() -> None:
    network = nn.Sequential(torch.jit.script(nn.Sequential(nn.Conv2d(2, 2, 1))))
    copied = copy_network(network)
    torch.optim.SGD(copied.parameters(), lr=0.1)  # takes leaves alone
    assert all(tensor.requires_grad for tensor in copied.parameters())
