"""Zero-cost scores, each checked against what it is defined to be on a network seen through."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from evaluators.training import Batches
from evaluators.zero_cost import SCORES, gradient_norm, naswot, synflow
from space import Bank, SharingPlan, apply_plan
from space.methods import METHODS
from tests.test_methods import OPTIONS, Net, body_sites


def batch(size: int = 6) -> Batches:
    images = torch.randn(size, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    return Batches(images, torch.arange(size) % 3)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_numbers_repeat_and_leave_the_network_alone(name: str, method: str) -> None:
    torch.manual_seed(0)
    plain = Net()
    network = apply_plan(plain, SharingPlan((Bank(method, OPTIONS[method], body_sites(plain)),)))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    first = SCORES[name](network, batch())
    assert math.isfinite(first)
    assert SCORES[name](network, batch()) == first
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert all(tensor.grad is None for tensor in network.parameters())


def test_synflow_of_a_linear_chain_is_known() -> None:
    """R = |a||b| for one unit; each of the two weights has |θ ∂R/∂θ| = R."""
    network: Any = nn.Sequential(
        nn.Flatten(), nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    )
    with torch.no_grad():
        network[1].weight.fill_(-3.0)
        network[2].weight.fill_(2.0)
    found = synflow(network, Batches(torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.long)))
    assert found == pytest.approx(math.log10(1 + 2 * 6.0))


def test_naswot_counts_units_that_agree() -> None:
    network: Any = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False), nn.ReLU())
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    images = torch.tensor([[1.0, 2.0], [1.0, -3.0]]).view(2, 2, 1, 1)
    found = naswot(network, Batches(images, torch.zeros(2, dtype=torch.long)))
    agreement = torch.tensor([[3.0, 1.0], [1.0, 3.0]])  # on: 1 1 1 and 1 0 0
    assert found == pytest.approx(float(torch.logdet(agreement)))


def test_naswot_finds_relu_called_as_a_function() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """x: (batch, 4, 1, 1)."""
            return torch.relu(self.linear(x.flatten(1)))

    torch.manual_seed(0)
    network = Functional()
    data = Batches(torch.randn(3, 4, 1, 1), torch.zeros(3, dtype=torch.long))
    modules = nn.Sequential(nn.Flatten(), network.linear, nn.ReLU())
    assert naswot(network, data) == naswot(modules, data) != 0


def test_the_gradient_norm_is_that_of_the_loss() -> None:
    network = Net()
    found = gradient_norm(network, batch())
    loss: Any = nn.functional.cross_entropy(network(batch().images), batch().labels)
    loss.backward()
    squares = [p.grad.square().sum() for p in network.parameters() if p.grad is not None]
    assert found == pytest.approx(float(torch.stack(squares).sum().sqrt()), rel=1e-5)
