"""What a search says of a network before it starts."""

from __future__ import annotations

import torch
from torch import nn

from isoshare.search.options.space import SpaceConfig
from isoshare.search.workflows.preparation.network import network_remarks
from isoshare.space.apply import count_parameters
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites


def remarks(width: int, methods: tuple[str, ...] = ("kernel",), evaluator: str = "train") -> str:
    """Of two convolutions beside a head of so many rows."""
    body = [layer for _ in range(2) for layer in (nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))]
    network = nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 16, width))
    network(torch.randn(2, 4, 8, 8))
    space = SearchSpace(find_sites(network), count_parameters(network), methods)
    options = SpaceConfig(backbone="mine", methods=methods)
    return " ".join(network_remarks(network, space, options, evaluator))


def test_a_small_reach_is_said_first() -> None:
    assert "sharing can touch 4% of the parameters of 'mine': the rest" in remarks(100)
    assert "touch" not in remarks(2)
    assert "touch 4% of the parameters of 'mine' (4% by slice_generator): the rest" in remarks(
        100, ("kernel", "slice_generator")
    )


def test_a_trained_backbone_that_starts_afresh_is_named() -> None:
    assert "backbone 'mine' is trained ('1' has seen 1 batches), and plans start" in remarks(2)
    assert not remarks(2, evaluator="inherit")
