"""Zero-cost scores, each checked against what it is defined to be on a network seen through."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.zero_cost import SCORES, Known, gradient_norm, naswot, score, synflow
from isoshare import Bank, SharingPlan
from isoshare.evaluators.training.batches import Batches
from isoshare.space.errors import IsoshareError
from isoshare.space.methods import METHODS
from tests.test_methods import OPTIONS, Net, body_sites


def batch(size: int = 6) -> Batches:
    images = torch.randn(size, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    return Batches(images, torch.arange(size) % 3)


def known() -> Known:
    torch.manual_seed(0)
    return Known(Net(), batch(), Net().eval(), None)


def plan_of(method: str, network: nn.Module) -> SharingPlan:
    return SharingPlan((Bank(method, OPTIONS[method], body_sites(network)),))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_numbers_repeat_and_leave_all_as_it_was(name: str, method: str) -> None:
    given = known()
    plan = plan_of(method, given.backbone)
    networks = [given.backbone, given.trained]
    before = [tensor.clone() for net in networks if net for tensor in net.state_dict().values()]
    first = score(name, plan, given)
    assert type(first) is float
    assert math.isfinite(first)
    torch.rand(3)  # whatever the caller draws
    random_state = torch.get_rng_state()
    assert score(name, plan, given) == first
    assert torch.equal(torch.get_rng_state(), random_state)
    after = [tensor for net in networks if net for tensor in net.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert all(tensor.grad is None for net in networks if net for tensor in net.parameters())
    row = SCORES[name]
    assert row.summary
    assert (row.fresh is None) != (row.projected is None)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_that_lacks_what_it_needs_says_so(name: str) -> None:
    with pytest.raises(IsoshareError, match=f"score '{name}' needs .*: give it, or take another"):
        score(name, SharingPlan(), Known(Net()))
    with pytest.raises(IsoshareError, match="unknown score 'magic': choose one of gradient_norm"):
        score("magic", SharingPlan(), known())


def test_the_projection_error_is_none_without_banks_and_falls_as_they_are_split() -> None:
    given = known()
    names = body_sites(given.backbone)
    banks = [(), (names[:2],), (names[:3],), (names,)]
    found = [
        score("projection_error", SharingPlan(tuple(Bank("kernel", {}, b) for b in some)), given)
        for some in banks
    ]
    assert found[0] == 0
    assert found == sorted(found, reverse=True)
    assert -4 / 5 < found[3] < -0.3, "the mean over five sites, of which one is private"


def test_the_projection_error_of_two_kernels_is_known() -> None:
    """Of two orthogonal kernels of equal norm the mean has half of each one's square."""
    given = known()
    network: Any = given.trained
    with torch.no_grad():
        for place, conv in enumerate((network.body[0], network.body[3])):
            conv.weight.zero_()
            conv.weight[0, 0, 0, place] = 2.0
    plan = SharingPlan((Bank("kernel", {}, ("body.0", "body.3")),))
    assert score("projection_error", plan, given) == pytest.approx(-(0.5 + 0.5) / 5)


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
