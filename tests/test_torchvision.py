"""Classification networks of torchvision go through: read, share by several methods, train.

The smallest of each family, all of them with ISOSHARE_ALL_NETWORKS=1 (minutes). Networks of up to
6 million parameters compute real numbers, larger ones only shapes (on torch's meta device).
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import torch
from torch import nn

from isoshare import SearchSpace, SharingPlan, apply_plan, count_parameters, find_sites
from isoshare.space.backbones import torchvision_operators
from isoshare.space.methods import METHODS
from isoshare.space.sites import left_private

torchvision_operators.declare_missing()

from torchvision import models  # noqa: E402  its operators are declared first
from torchvision.models import regnet  # noqa: E402

NAMES = [name for name in models.list_models(module=models) if "swin" not in name]
FAMILIES = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s"),
    *("googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small"),
    *("regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d"),
    *("shufflenet_v2_x0_5", "squeezenet1_0", "vgg11", "vgg11_bn", "vit_b_16", "wide_resnet50_2"),
)
CASES = NAMES if os.environ.get("ISOSHARE_ALL_NETWORKS") == "1" else FAMILIES
REAL = 6_000_000
SIDE = {"inception_v3": 299, "maxvit_t": 224}


@pytest.fixture(autouse=True)
def _widths_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """RegNets compute their widths with tensors, which the meta device would leave empty."""
    compute = regnet.BlockParams.from_init_params

    def on_the_processor(*given: Any, **options: Any) -> Any:
        with torch.device("cpu"):
            return compute(*given, **options)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", on_the_processor)


def build(name: str) -> Any:
    """On the meta device: nothing is drawn, and the largest one would need gigabytes."""
    arguments = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return models.get_model(name, weights=None, num_classes=5, **arguments)


def plan_of_several_methods(space: SearchSpace) -> SharingPlan:
    """Of some random plans the one with the most methods."""
    plans = [space.random_plan(random.Random(seed)) for seed in range(10)]
    return max(plans, key=lambda plan: len({bank.method for bank in plan.banks}))


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) >= 60
    assert set(FAMILIES) <= set(NAMES)


@pytest.mark.parametrize("name", CASES)
def test_a_network_is_read_shared_counted_and_trained(name: str) -> None:
    network = build(name)
    sites = find_sites(network)
    assert sites
    private = {reason for _, reason in left_private(network) if "attention" not in reason}
    assert not private
    assert name.startswith("vit") or left_private(network) == ()
    space = SearchSpace(sites, count_parameters(network), tuple(METHODS))
    plan = plan_of_several_methods(space)
    real = space.unshared <= REAL and not name.startswith(("vit", "maxvit"))
    if real:
        torch.manual_seed(0)
        network = network.to_empty(device="cpu")
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                nn.init.trunc_normal_(tensor, 0.5, 0.05, 0.4, 0.6)
    shared = apply_plan(network, plan, weights="fresh")
    assert count_parameters(shared) == space.trainable_parameters(plan) < space.unshared
    side = SIDE.get(name, 224 if name.startswith("vit") else 96)
    outputs = shared(torch.randn(2, 3, side, side, device="cpu" if real else "meta"))
    logits = outputs if isinstance(outputs, tuple) else (outputs,)  # auxiliary classifiers too
    assert all(output.shape == (2, 5) for output in logits)
    total: Any = torch.stack(list(logits)).sum()
    total.backward()
    for bank in plan.banks:
        for site in bank.sites:
            for tensor in shared.get_submodule(site).parameters():
                assert tensor.grad is not None
