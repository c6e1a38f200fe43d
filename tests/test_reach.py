"""What of a network sharing can touch, and where the rest is."""

from __future__ import annotations

import pytest
from torch import nn

from isoshare import count_parameters, find_sites
from isoshare.search.workflows.inspect import inspect_backbone
from isoshare.space.reach import ALONE, Place, out_of_reach, reach, wide_reach


def network() -> nn.Module:
    """Two equal convolutions, one of another width, a frozen head that is tied to an embedding, and
    parameters of its own.
    """
    found = nn.Sequential(
        nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3)
    )
    found.words = nn.Embedding(5, 8)
    found.head = nn.Linear(8, 5, bias=False)
    found.head.weight = found.words.weight
    found.register_parameter("scale", nn.Parameter(nn.init.ones_(nn.Parameter().new_empty(7))))
    return found


def test_the_rest_of_the_parameters_is_told_by_place() -> None:
    found = network()
    equal, other = 2 * (4 * 4 * 9 + 4), 8 * 4 * 9 + 8
    sites, unshared = find_sites(found), count_parameters(found)
    assert unshared == equal + other + 8 + 40 + 7
    assert reach(sites, unshared) == equal / unshared
    assert wide_reach(sites, unshared) == (equal + other) / unshared
    embedding = "an embedding: its rows belong to symbols, not to positions in a network"
    assert out_of_reach(found) == [
        Place(ALONE, other, ("3",)),
        Place(embedding, 40, ("words",)),
        Place("BatchNorm2d", 8, ("2",)),
        Place("Sequential", 7, ("the network itself",)),
    ]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "torchvision.models:vit_b_16"])
def test_reach_and_rest_are_all_there_is(name: str) -> None:
    found = inspect_backbone(name, {})
    rest = sum(place["parameters"] for place in found["out_of_reach"])
    assert round(found["reach"] * found["parameters"]) + rest == found["parameters"]
