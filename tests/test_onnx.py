"""ONNX files: the outputs of torch, each shared tensor once, any batch size."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan, apply_plan, find_sites, isomorphic_groups
from isoshare.space.apply import bake, deployed
from isoshare.space.backbones import build_backbone
from isoshare.space.costs.closed_form import device_bytes
from isoshare.space.errors import PlanError
from isoshare.space.exports.onnx_file import OnnxError, check_packages, save_onnx
from isoshare.space.layers import CONVOLUTIONS, TRANSPOSED
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import PlanFile
from isoshare.space.weights.saving import PLAN_KEY
from tests.test_methods import OPTIONS, VARIANTS, Net, images, plan_of, shared_net

BACKBONES: dict[str, dict[str, Any]] = {
    "resnet_cifar": {"depth": 14, "width": 8},
    "densenet_bc": {"depth": 10, "growth": 4},
    "convmixer": {"width": 24, "depth": 3, "kernel": 3, "patch": 2},
}
EVERYWHERE = os.environ.get("ISOSHARE_ALL_EXPORTS") == "1"
SOME = {("densenet_bc", "filter_basis"), ("convmixer", "kernel"), ("convmixer", "low_rank")}
CASES = [
    (backbone, method)
    for backbone, method in product(BACKBONES, METHODS)
    if EVERYWHERE or backbone == "resnet_cifar" or (backbone, method) in SOME
]
"""All methods on one backbone, and those that differ most on others; all by ``make exports``."""
IMAGE = (3, 16, 16)


def network_of(
    backbone: str,
    method: str,
    arguments: dict[str, dict[str, Any]] = BACKBONES,
    options: dict[str, dict[str, Any]] = OPTIONS,
) -> tuple[nn.Module, PlanFile]:
    """A network with statistics of its own, one bank for the largest group that can share so."""
    torch.manual_seed(0)
    unshared = build_backbone(backbone, arguments[backbone])
    groups = sorted(isomorphic_groups(find_sites(unshared)), key=len, reverse=True)
    for group in groups:
        plan = SharingPlan((Bank(method, options[method], tuple(s.name for s in group)),))
        try:
            network = apply_plan(unshared, plan)
        except PlanError:
            continue
        network.train()(torch.randn(8, *IMAGE))
        with torch.no_grad():  # no two tensors are equal by chance
            for tensor in network.parameters():
                tensor.add_(0.01 * torch.randn_like(tensor))
        return network.eval(), PlanFile.of(plan)
    raise AssertionError("nothing can share")


def run(path: Path, batch: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": batch.numpy()})
    return torch.from_numpy(logits)


def unique_bytes(network: nn.Module) -> int:
    tensors = {id(t): t for t in network.state_dict(keep_vars=True).values()}
    return sum(t.numel() * t.element_size() for t in tensors.values() if t.is_floating_point())


def held_bytes(graph: Any) -> int:
    """Of weights; shapes are integers."""
    weights = (one for one in graph.initializer if one.data_type != onnx.TensorProto.INT64)
    return sum(onnx.numpy_helper.to_array(one).nbytes for one in weights)


def loaded_bytes(path: Path) -> int:
    """What onnxruntime holds of a file, at its default settings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that optimised files belong to this machine
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return held_bytes(onnx.load(options.optimized_model_filepath).graph)


@dataclass(frozen=True)
class Exported:
    """A network, its plan, its file, and how far the file was said to be from the network."""

    network: nn.Module
    plan: PlanFile
    path: Path
    difference: float


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Exported]:
    """A backbone shared by a method, as a file: written once, for an export takes seconds."""

    @cache
    def export(backbone: str, method: str) -> Exported:
        network, plan = network_of(backbone, method)
        path = tmp_path_factory.mktemp("onnx") / "net.onnx"
        return Exported(network, plan, path, save_onnx(network, path, plan, IMAGE))

    return export


@pytest.mark.parametrize(("backbone", "method"), CASES)
def test_onnxruntime_computes_what_torch_does(
    exported: Callable[[str, str], Exported], backbone: str, method: str
) -> None:
    file = exported(backbone, method)
    network, path = file.network, file.path
    for size in (1, 5):
        batch = torch.randn(size, *IMAGE)
        with torch.no_grad():
            assert (run(path, batch) - network(batch)).abs().max() < 1e-5
    assert 0 <= file.difference < 1e-5
    unique = unique_bytes(network)
    assert path.stat().st_size <= 1.02 * unique + 100_000
    graph = onnx.load(path).graph
    names = [one.name for one in graph.initializer]
    assert len(names) == len(set(names))
    assert held_bytes(graph) < unique + 4_000  # and a few constants
    assert [one.name for one in path.parent.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("method", METHODS)
def test_shared_tensors_are_used_where_they_were_shared(
    exported: Callable[[str, str], Exported], method: str
) -> None:
    file = exported("resnet_cifar", method)
    model = onnx.load(file.path)
    uses = dict.fromkeys((one.name for one in model.graph.initializer), 0)
    for node in model.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    sites = len(file.plan.plan.sites)
    tensor = "generator" if method == "slice_generator" else "weight"
    shared = [uses[name] for name in uses if name.startswith("stages") and name.endswith(tensor)]
    once = method == "slice_generator"  # transposed once, then used
    assert max(shared) == (1 if once else sites)
    kinds = [node.op_type for node in model.graph.node]
    made = once or method == "low_rank"  # a product for each kernel
    assert kinds.count("MatMul") == (sites if made else 0)
    assert json.loads({p.key: p.value for p in model.metadata_props}[PLAN_KEY])["banks"]


WIDE: dict[str, dict[str, Any]] = {"resnet_cifar": {"depth": 8, "width": 16}}
"""Blocked layouts fill channels up to a multiple of 16."""
WIDE_OPTIONS = {**OPTIONS, "filter_basis": {"shared_rank": 16, "unique_rank": 16}}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_shared_stays_so_when_it_is_loaded(tmp_path: Path, method: str) -> None:
    backbone = "resnet_cifar"
    network, plan = network_of(backbone, method, WIDE, WIDE_OPTIONS)
    save_onnx(network, tmp_path / "net.onnx", plan, IMAGE)
    unshared = build_backbone(backbone, WIDE[backbone])
    sites = find_sites(unshared)
    costs = network_costs(unshared, sites, torch.zeros(1, *IMAGE))
    expected = device_bytes(plan.plan, sites, costs, "float32")
    assert loaded_bytes(tmp_path / "net.onnx") <= 1.05 * expected
    if method in {"slice_generator", "low_rank"}:  # each kernel is made for one site alone
        run_by = onnx.load(tmp_path / "net.optimised").graph.node
        kinds = [type(part) for part in unshared.modules()]
        assert [node.op_type for node in run_by].count("Conv") == kinds.count(nn.Conv2d)
    if method == "kernel":
        assert expected < 0.98 * device_bytes(SharingPlan(), sites, costs, "float32")


def test_normalisations_as_they_were_would_be_folded_into_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, plan = network_of("resnet_cifar", "kernel", WIDE, OPTIONS)
    sizes = []
    for name in ("kept", "folded"):
        save_onnx(network, tmp_path / f"{name}.onnx", plan, IMAGE)
        sizes.append(loaded_bytes(tmp_path / f"{name}.onnx"))
        monkeypatch.setattr("isoshare.space.exports.onnx_file.keep_shared", lambda _model: None)
    assert sizes[0] < 0.98 * sizes[1]


class Flat(nn.Module):
    """Normalisations without positions, of a sequence, and one normalisation that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2)])

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 2, height, width)."""
        twice = self.norms[0](torch.relu(self.norms[0](x)))
        positions = self.norms[1](torch.relu(twice.flatten(2)))
        y: Tensor = self.norms[2](torch.relu(positions.mean(2)))
        return y


def test_any_normalisation_is_computed_as_it_was(tmp_path: Path) -> None:
    network = Flat().train()
    for _ in range(3):
        network(torch.randn(8, 2, 5, 5) * 2 + 1)
    save_onnx(network.eval(), tmp_path / "net.onnx", PlanFile.of(SharingPlan()), (2, 5, 5))
    kinds = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert kinds.count("Conv") == 3
    assert "BatchNormalization" not in kinds


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_a_deployed_network_computes_the_same(method: str, options: dict[str, Any]) -> None:
    network = shared_net(method, options).train()
    network(images(8))
    for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
        tensors: Any = norm._parameters  # those of a regulated one are not read otherwise
        with torch.no_grad():
            tensors["weight"][0] = -0.7  # a negative factor
    network.eval()
    plan = plan_of(method, options, Net())
    assert torch.allclose(deployed(network, plan)(images()), network(images()), atol=1e-5)


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_a_baked_network_computes_the_same(method: str, options: dict[str, Any]) -> None:
    network = shared_net(method, options).train()
    network(images(8))
    network.eval()
    plan = plan_of(method, options, Net())
    baked = bake(network, plan)
    assert torch.allclose(baked(images()), network(images()), atol=1e-5)
    assert all(type(baked.get_submodule(name)) is nn.Conv2d for name in plan.sites)


@pytest.mark.parametrize("method", METHODS)
def test_baked_kernels_are_in_the_file(tmp_path: Path, method: str) -> None:
    network, plan = network_of("convmixer", method)
    save_onnx(network, tmp_path / "net.onnx", plan, IMAGE, bake=True)
    batch = torch.randn(4, *IMAGE)
    with torch.no_grad():
        assert (run(tmp_path / "net.onnx", batch) - network(batch)).abs().max() < 1e-5
    kinds = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert not kinds & {"MatMul", "Concat", "Transpose"}


def test_a_training_network_stays_one(tmp_path: Path) -> None:
    network = Net().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_onnx(network, tmp_path / "net.onnx", PlanFile.of(SharingPlan()), (2, 9, 9))
    assert network.training
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_what_cannot_be_exported_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    class Moody(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(OnnxError, match=r"torch\.onnx cannot export this network: .*safetensors"):
        save_onnx(Moody(), tmp_path / "net.onnx", PlanFile.of(SharingPlan()), (2, 9, 9))
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str) -> Any:
        return None if name in {"onnxscript", "onnxruntime"} else found(name)

    monkeypatch.setattr("isoshare.space.exports.onnx_file.find_spec", without)
    with pytest.raises(OnnxError, match="pip install onnxscript onnxruntime"):
        check_packages()


MIXED = {
    1: {"convolution": "slice_generator", "transposed": "low_rank", "linear": "filter_basis"},
    3: {"convolution": "filter_basis", "transposed": "slice_generator", "linear": "low_rank"},
}
"""By dimensions: how the layers of each kind share."""


class Chain(nn.Module):
    """Layers one after the other, with shortcuts; it asks for the kind of each."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, side, ...)."""
        for layer in self.layers:
            linear = isinstance(layer, nn.Linear)
            x = torch.relu(layer(x.movedim(1, -1)).movedim(-1, 1) if linear else layer(x)) + x
        return x


class Mixed(Chain):
    """Its last two layers are linear, whatever stands in their place."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, side, ...)."""
        for place, layer in enumerate(self.layers):
            x = torch.relu(layer(x)) if place < 4 else layer(x.movedim(1, -1)).movedim(-1, 1)
        return x


def mixed(kind: type[Chain], dimensions: int) -> tuple[nn.Module, SharingPlan]:
    """Convolutions of so many dimensions, transposed ones, and linear layers, two of each."""
    torch.manual_seed(0)
    makes = (CONVOLUTIONS[dimensions - 1], TRANSPOSED[dimensions - 1])
    layers: list[nn.Module] = [make(4, 4, 3, padding=1) for make in makes for _ in range(2)]
    network = kind([*layers, nn.Linear(4, 4), nn.Linear(4, 4)])
    banks = []
    for group in isomorphic_groups(find_sites(network)):
        method = MIXED[dimensions][group[0].kind]
        banks.append(Bank(method, OPTIONS[method], tuple(site.name for site in group)))
    shared = apply_plan(network, SharingPlan(tuple(banks)))
    shared(torch.randn(5, 4, *[4] * dimensions))
    with torch.no_grad():
        for tensor in shared.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return shared.eval(), SharingPlan(tuple(banks))


@pytest.mark.parametrize("dimensions", MIXED)
def test_layers_of_every_kind_are_exported(tmp_path: Path, dimensions: int) -> None:
    shared, plan = mixed(Mixed, dimensions)
    batch, path = torch.randn(3, 4, *[4] * dimensions), tmp_path / "n.onnx"
    assert save_onnx(shared, path, PlanFile.of(plan), batch.shape[1:]) < 1e-4
    assert torch.allclose(run(path, batch), shared(batch), atol=1e-4)
    assert held_bytes(onnx.load(path).graph) <= unique_bytes(shared)


def test_a_network_that_asks_for_the_kind_of_a_layer_is_baked_or_refused(tmp_path: Path) -> None:
    """The layers of a filter basis are several in the file, and no linear layer any more."""
    shared, plan = mixed(Chain, 1)
    path = tmp_path / "n.onnx"
    with pytest.raises(OnnxError, match=r"computes something else than the network.*--bake"):
        save_onnx(shared, path, PlanFile.of(plan), (4, 4))
    assert save_onnx(shared, path, PlanFile.of(plan), (4, 4), bake=True) < 1e-4
