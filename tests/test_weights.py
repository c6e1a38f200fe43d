"""Files of weights: each tensor once, the plan inside, and the same outputs in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from space import Bank, SharingPlan, apply_plan, find_sites
from space.backbones import build_backbone
from space.methods import METHODS
from space.plan import BackboneReference, PlanFile
from space.weights import WeightsError, load_network, load_weights, read_plan, save_weights
from tests.test_methods import OPTIONS

BACKBONE = BackboneReference(name="resnet_cifar", arguments={"depth": 14, "width": 8})


def shared(method: str) -> tuple[nn.Module, PlanFile]:
    backbone = build_backbone(BACKBONE.name, BACKBONE.arguments)
    names = tuple(
        site.name for site in find_sites(backbone) if site.in_channels == site.out_channels == 16
    )[-3:]
    plan = SharingPlan((Bank(method, OPTIONS[method], names),))
    network = apply_plan(backbone, plan).train()
    network(images())  # statistics that are not those of a fresh network
    return network.eval(), PlanFile.of(plan, backbone=BACKBONE.model_dump())


def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_comes_back_from_its_file_alone(tmp_path: Path, method: str) -> None:
    network, plan = shared(method)
    save_weights(network, tmp_path / "net.safetensors", plan)
    again = load_network(tmp_path / "net.safetensors")
    assert torch.equal(again(images()), network(images()))
    assert read_plan(tmp_path / "net.safetensors") == plan
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_fresh_process_computes_the_same(tmp_path: Path) -> None:
    network, plan = shared("slice_generator")
    save_weights(network, tmp_path / "net.safetensors", plan)
    torch.save((images(), network(images())), tmp_path / "expected.pt")
    code = (
        "import torch; from space.weights import load_network\n"
        f"network = load_network({str(tmp_path / 'net.safetensors')!r})\n"
        f"x, y = torch.load({str(tmp_path / 'expected.pt')!r})\n"
        "assert torch.equal(network(x), y)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)


@pytest.mark.parametrize("method", METHODS)
def test_each_shared_tensor_is_stored_once(tmp_path: Path, method: str) -> None:
    network, plan = shared(method)
    save_weights(network, tmp_path / "net.safetensors", plan)
    unique = {
        id(t): t.numel() * t.element_size() for t in network.state_dict(keep_vars=True).values()
    }
    size = (tmp_path / "net.safetensors").stat().st_size
    assert sum(unique.values()) <= size <= 1.02 * sum(unique.values()) + 100_000


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network, plan = shared("kernel")
    path = tmp_path / "net.safetensors"
    save_weights(network, path, plan)
    with pytest.raises(WeightsError, match=r"does not fit the network.*share the network by"):
        load_weights(build_backbone("resnet_cifar", {"depth": 8}), path)
    with pytest.raises(WeightsError, match="cannot read"):
        read_plan(tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot read"):
        load_network(path)
    from safetensors.torch import save_file

    bare: Any = {"x": torch.zeros(1)}
    save_file(bare, path)
    with pytest.raises(WeightsError, match="holds no plan"):
        load_network(path)
    save_weights(network, path, plan.model_copy(update={"backbone": None}))
    with pytest.raises(WeightsError, match="names no backbone"):
        load_network(path)
