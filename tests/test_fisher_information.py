"""The Fisher information of kernels: one pass over a batch says what image by image does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.evaluators.inheriting import fisher_information
from isoshare.evaluators.inheriting.fisher_information import fisher
from isoshare.evaluators.training.batches import Batches
from tests.test_methods import body_sites
from tests.test_weight_projection import data, trained

IMAGES = 5
PLAIN = ["grouped", "dilated", "flat", "twice", "rows", "head"]
"""Layers of ``Odd`` whose gradients one pass gives."""
OTHERS = ["upwards", "sideways", "borrowed"]


class Odd(nn.Module):
    """Layers of many kinds, some used in ways that no pass over a batch can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.dilated = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8)
        self.flat = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", bias=False)
        self.twice = nn.Conv2d(8, 8, (1, 3), padding=(0, 1))
        self.upwards = nn.ConvTranspose2d(8, 8, 2)
        self.rows = nn.Linear(8, 8)
        self.sideways = nn.Linear(8, 8)
        self.borrowed = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.grouped(x), inplace=True)
        x = functional.relu_(self.dilated(x))
        x = self.flat(x).tanh()
        x = self.twice(self.twice(x)).tanh()
        x = self.upwards(x).flatten(2).mT
        x = self.rows(x) + self.sideways(x.transpose(0, 1)).transpose(0, 1)
        x = functional.linear(x, self.borrowed.weight).mean(1)
        return self.head(x)  # type: ignore[no-any-return]


def odd() -> tuple[Odd, Batches]:
    torch.manual_seed(0)
    return Odd(), Batches(torch.randn(IMAGES + 1, 4, 9, 9), torch.arange(IMAGES + 1) % 3)


def expected(network: nn.Module, known: Batches) -> dict[str, Tensor]:
    """By ordinary gradients of one image after the other."""
    kernels = {name: one for name, one in network.named_parameters() if name.endswith(".weight")}
    sums = {name.removesuffix(".weight"): torch.zeros_like(one) for name, one in kernels.items()}
    for image, label in known.first(IMAGES, 1):
        loss = functional.cross_entropy(network(image), label)
        for name, one in zip(sums, torch.autograd.grad(loss, [*kernels.values()]), strict=True):
            sums[name] += one.square() / IMAGES
    return sums


def test_it_is_the_mean_squared_gradient() -> None:
    source = trained()
    found = fisher(source, data(), images=IMAGES)
    assert set(found) == {"stem", *body_sites(source), "head"}
    wanted = expected(source, data())
    for name, one in found.items():
        assert torch.allclose(one, wanted[name], rtol=1e-3, atol=1e-10), name


def test_layers_of_all_kinds_and_uses_have_theirs() -> None:
    network, known = odd()
    found, wanted = fisher(network, known, images=IMAGES), expected(network, known)
    assert set(found) == {*PLAIN, *OTHERS}
    for name, one in found.items():
        assert torch.allclose(one, wanted[name], rtol=1e-3, atol=1e-12), name
    assert all(tensor.grad is None for tensor in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


def test_only_layers_that_mix_nothing_are_computed_in_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    by_image = fisher_information._by_image

    def watched(network: nn.Module, names: Any, *batch: Tensor) -> dict[str, Tensor]:
        asked.append(list(names))
        return by_image(network, names, *batch)

    monkeypatch.setattr(fisher_information, "_by_image", watched)
    fisher(*odd(), images=IMAGES)
    assert asked[1:] == [OTHERS]


def test_it_works_within_no_grad_and_beside_frozen_weights() -> None:
    network, known = odd()
    wanted = expected(network, known)
    network.grouped.requires_grad_(requires_grad=False)
    with torch.no_grad():
        found = fisher(network, known, images=IMAGES)
        assert fisher(nn.Flatten(), known) == {}
    assert {"twice", *OTHERS} <= set(found)
    assert all(torch.allclose(one, wanted[name], rtol=1e-3) for name, one in found.items())
    assert not any(one.requires_grad for one in found.values())
