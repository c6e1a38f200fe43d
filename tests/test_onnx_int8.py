"""Files in 8 bits: integers in onnxruntime, shared kernels once, outputs of the reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan, apply_plan, find_sites
from isoshare.space.apply import deployed
from isoshare.space.backbones import build_backbone
from isoshare.space.costs import device_bytes
from isoshare.space.exports.arithmetic import run
from isoshare.space.exports.onnx_int8 import export_onnx_int8, run_onnx
from isoshare.space.exports.quantised import quantised, signs
from isoshare.space.exports.tracing import ConversionError, traced
from isoshare.space.forward_pass import network_costs
from isoshare.space.methods import METHODS
from isoshare.space.plan import PlanFile
from tests.test_onnx import IMAGE, WIDE, WIDE_OPTIONS, held_bytes, network_of

NOTHING = PlanFile.of(SharingPlan())


def batches(shape: tuple[int, ...] = IMAGE) -> list[Tensor]:
    return [torch.randn(16, *shape, generator=torch.Generator().manual_seed(1))]


def optimised(path: Path) -> Any:
    """The graph that onnxruntime runs, at its default settings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath).graph


@pytest.mark.parametrize("method", METHODS)
def test_shared_kernels_are_held_once_by_integer_convolutions(tmp_path: Path, method: str) -> None:
    network, plan = network_of("resnet_cifar", method, WIDE, WIDE_OPTIONS)
    path = tmp_path / "net.onnx"
    done = export_onnx_int8(network, path, plan, batches())
    assert done.difference <= 2
    with torch.no_grad():
        expected = network(batches()[0])
    assert (run_onnx(path, batches()[0]) - expected).abs().max() < 0.06 * expected.abs().max()
    graph = optimised(path)
    kinds = Counter(node.op_type for node in graph.node)
    ordinary = traced(deployed(network, plan.plan), batches()[0][:1])
    assert kinds["QLinearConv"] == sum(bool(layer.kernel) for layer in ordinary.layers)
    assert not kinds["Conv"]
    unshared = build_backbone("resnet_cifar", WIDE["resnet_cifar"])
    sites = find_sites(unshared)
    costs = network_costs(unshared, sites, torch.zeros(1, *IMAGE))
    assert held_bytes(graph) <= 1.05 * device_bytes(plan.plan, sites, costs, "int8")
    names = {node.input[3] for node in graph.node if node.op_type == "QLinearConv"}
    saved = {"kernel": 1, "anchored": 1, "filter_basis": 1}.get(method, 0)
    assert kinds["QLinearConv"] - len(names) == saved
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".onnx"] == ["net.onnx"]


class Everything(nn.Module):
    """The layers of small networks that are no convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding="same")
        self.norm, self.act = nn.BatchNorm2d(8), nn.Hardswish()
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Conv2d(4, 8, 1)
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        y = self.act(self.norm(torch.relu(self.first(x))))
        weights = torch.relu(self.squeeze(y.mean((2, 3))))[:, :, None, None]
        y = y * torch.sigmoid(self.excite(weights))
        left, right = nn.functional.relu6(self.second(y)).chunk(2, 1)
        mixed = torch.cat([right, left, y], 1)
        mixed = mixed.view(-1, 2, 8, 8, 8).transpose(1, 2).reshape(-1, 16, 8, 8)
        pooled = nn.functional.max_pool2d(mixed, 2) + nn.functional.avg_pool2d(mixed, 2)
        padded = nn.functional.pad(pooled[:, :, ::2, ::2], (0, 0, 0, 0, 0, 0))
        found: Tensor = self.head(nn.functional.adaptive_avg_pool2d(padded, 1).flatten(1))
        return found


def test_all_kinds_of_layers_are_computed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Everything().eval()
    images = batches()
    graph = traced(network, images[0][:1])
    with torch.no_grad():
        expected = network(images[0])
        assert torch.allclose(run(graph, images[0]), expected, atol=1e-5)
        found = quantised(graph, images).outputs(images[0])
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert export_onnx_int8(network, tmp_path / "net.onnx", NOTHING, images).difference <= 2


def two_uses(factors: list[list[float]]) -> tuple[nn.Module, SharingPlan]:
    """One kernel, used twice, each use with its own factors."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    plan = SharingPlan((Bank("kernel", {}, ("0", "3")),))
    network: Any = apply_plan(net, plan).eval()
    with torch.no_grad():
        for place, values in zip((1, 4), factors, strict=True):
            network[place].weight.copy_(torch.tensor(values))
            network[place].bias.copy_(torch.randn(3))
    return network, plan


@pytest.mark.parametrize(
    ("factors", "more"),
    [
        ([[1.0, -2.0, 0.5], [0.7, -0.3, 1.0]], 0),  # a row is turned in the kernel
        ([[1.0, -2.0, 0.5], [0.7, 0.3, 1.0]], 1),  # uses disagree
        ([[1.0, 0.0, 0.5], [-1e-9, 0.3, 1.0]], 1),  # channels that are switched off
    ],
)
def test_negative_factors_and_none(tmp_path: Path, factors: list[list[float]], more: int) -> None:
    network, plan = two_uses(factors)
    images = batches()
    graph = traced(network, images[0][:1])
    positive = signs(graph)
    assert len(positive.layers) == len(graph.layers) + more
    assert all((one.factor >= 0).all() for one in positive.layers if one.factor is not None)
    with torch.no_grad():
        expected = network(images[0])
    made = quantised(graph, images)
    assert all((made.weight_scale(one) > 0).all() for one in made.graph.layers if one.kernel)
    assert torch.allclose(run(positive, images[0]), expected, atol=1e-5)
    assert (made.outputs(images[0]) - expected).abs().max() < 0.06 * expected.abs().max()
    export_onnx_int8(network, tmp_path / "net.onnx", PlanFile.of(plan), images)


def test_layers_that_cannot_be_converted_are_named_before_anything_is_written(
    tmp_path: Path,
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1), nn.ConvTranspose2d(4, 2, 3))
    with pytest.raises(ConversionError, match=r"1 \(softmax\), 2 \(conv_transpose2d\)"):
        export_onnx_int8(network, tmp_path / "net.onnx", NOTHING, batches())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU])
def test_activations_without_an_operator_are_named_and_nothing_is_written(
    activation: type[nn.Module], tmp_path: Path
) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).eval()
    with pytest.raises(ConversionError, match=activation.__name__.lower()):
        export_onnx_int8(network, tmp_path / "net.onnx", NOTHING, batches((3, 8, 8)))
    assert not list(tmp_path.iterdir())
