"""Networks in half precision share, and compute bit for bit what their baked copies do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan, apply_plan, find_sites
from isoshare.space.apply import bake, deployed
from tests.fakes import first_options

OPTIONS: dict[str, dict[str, Any]] = {
    **first_options(),
    "kernel": {},
    "anchored": {},
    "filter_basis": {"shared_rank": 4, "unique_rank": 2},
    "slice_generator": {"slice_size": 4, "code_size": 8},
    "low_rank": {"rank": 2},
}
HALF = [torch.bfloat16, torch.float16]


def trained(method: str, dtype: torch.dtype) -> tuple[Any, SharingPlan, Tensor]:
    """A network whose regulators and residuals are no longer what they start with, its plan and a
    batch of images.
    """
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
    for _ in range(4):
        layers += [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    network = nn.Sequential(*layers).to(dtype)
    sites = tuple(site.name for site in find_sites(network)[1:])
    plan = SharingPlan((Bank(method, OPTIONS[method], sites),))
    shared, images = apply_plan(network, plan), torch.randn(16, 3, 12, 12, dtype=dtype)
    with torch.no_grad():
        for tensor in shared.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
        for _ in range(20):
            shared(images)
    return shared.eval(), plan, images


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("method", OPTIONS)
@torch.no_grad()
def test_ordinary_layers_round_no_worse_than_the_shared_network(
    method: str, dtype: torch.dtype
) -> None:
    shared, plan, images = trained(method, dtype)
    exact = copy.deepcopy(shared).float()(images.float())
    rounding = (shared(images) - exact).square().mean().sqrt()
    assert 0 < rounding < 4 * torch.finfo(dtype).eps * exact.std()
    assert torch.equal(bake(shared, plan)(images), shared(images))
    apart = deployed(shared, plan)
    assert all(tensor.dtype == dtype for tensor in apart.parameters())
    assert (apart(images) - exact).square().mean().sqrt() < 1.5 * rounding


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("method", OPTIONS)
def test_half_precision_learns(method: str, dtype: torch.dtype) -> None:
    shared, _, images = trained(method, dtype)
    shared.train()(images).square().mean().backward()
    assert all(tensor.grad is not None for tensor in shared.parameters())
    assert all(tensor.grad.isfinite().all() for tensor in shared.parameters())
