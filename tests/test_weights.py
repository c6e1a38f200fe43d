"""Files of weights: each tensor once, the plan inside, and the same outputs in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from isoshare import Bank, SharingPlan, apply_plan, find_sites
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import WeightsError
from isoshare.space.methods import METHODS
from isoshare.space.plan import BackboneReference, PlanFile
from isoshare.space.weights.saving import load_network, load_weights, read_plan, save_weights
from tests.test_methods import OPTIONS

ROOT = Path(__file__).parent.parent
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
        "import torch; from isoshare.space.weights.saving import load_network\n"
        f"network = load_network({str(tmp_path / 'net.safetensors')!r})\n"
        f"x, y = torch.load({str(tmp_path / 'expected.pt')!r})\n"
        "assert torch.equal(network(x), y)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


MY_NET = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(4)]
        norms = [nn.BatchNorm2d(6) for _ in range(4)]
        self.stem = nn.Conv2d(1, 6, 1)
        self.body = nn.ModuleList(
            nn.Sequential(*pair, nn.ReLU()) for pair in zip(sizes, norms, strict=True)
        )
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in self.body:
            x = x + block(x)
        return self.head(x.mean((2, 3)))
"""

TRAIN = """
import json, sys, torch
from my_net import MyNet
from isoshare import Bank, SharingPlan, apply_plan, find_sites
from isoshare.space.plan import PlanFile
from isoshare.space.weights.saving import save_weights

for method, options in json.loads(sys.argv[1]).items():
    model = MyNet()
    sites = tuple(site.name for site in find_sites(model) if site.name.startswith("body"))
    plan = SharingPlan((Bank(method, options, sites),))
    plan.save(f"{method}.json")
    network = apply_plan(model, plan)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(3):
        images, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    save_weights(network.eval(), f"{method}.safetensors", PlanFile.of(plan))
    images = torch.randn(4, 1, 8, 8)
    torch.save((images, network(images)), f"{method}.pt")
"""

APPLY = """
import json, sys, torch
from my_net import MyNet
from isoshare import SharingPlan, apply_plan
from isoshare.space.weights.saving import load_weights

torch.manual_seed(1234)  # other weights to begin with
for method in json.loads(sys.argv[1]):
    network = apply_plan(MyNet(), SharingPlan.load(f"{method}.json"))
    load_weights(network, f"{method}.safetensors").eval()
    images, expected = torch.load(f"{method}.pt")
    assert torch.equal(network(images), expected), method
"""


def test_a_users_own_network_computes_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(MY_NET)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    for code in (TRAIN, APPLY):
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(OPTIONS)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.glob("*.pt")} == set(METHODS)


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


def test_a_part_under_two_names_is_read_back(tmp_path: Path) -> None:
    def made() -> nn.Module:
        twice = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
        return nn.Sequential(twice, nn.Conv2d(2, 2, 1), twice)

    network, x = made(), torch.randn(4, 2, 3, 3)
    network(x)
    save_weights(network, tmp_path / "net.safetensors", PlanFile.of(SharingPlan()))
    again = load_weights(made(), tmp_path / "net.safetensors")
    assert again.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(again.eval()(x), network.eval()(x))


class Remembers(nn.Conv2d):
    """Keeps what is no tensor."""

    def get_extra_state(self) -> Any:
        return {"steps": 3}


def test_more_than_tensors_is_refused_by_name(tmp_path: Path) -> None:
    network = nn.Sequential(Remembers(2, 2, 1))
    with pytest.raises(WeightsError, match=r"keeps \{'steps': 3\} as '0._extra_state'"):
        save_weights(network, tmp_path / "net.safetensors", PlanFile.of(SharingPlan()))
    assert not list(tmp_path.iterdir())
