"""Layers in files of 8 bits: every kind in every runtime, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.micro import run_micro
from isoshare import Bank, SharingPlan, apply_plan
from isoshare.space.exports.arithmetic import run
from isoshare.space.exports.int8 import Int8Format, export_int8
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.quantised import quantised, signs
from isoshare.space.exports.tflite.export import TFLITE
from isoshare.space.exports.tracing import ConversionError, traced
from isoshare.space.plan import PlanFile
from tests.int8_files import FORMATS, MICRO, NOTHING, batches, steps_apart


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


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_all_kinds_of_layers_are_computed(tmp_path: Path, form: Int8Format) -> None:
    torch.manual_seed(0)
    network = Everything().eval()
    images = batches()
    graph = traced(network, images[0][:1])
    with torch.no_grad():
        expected = network(images[0])
        assert torch.allclose(run(graph, images[0]), expected, atol=1e-5)
        found = quantised(graph, images)
    assert (found.outputs(images[0]) - expected).abs().max() < 0.1 * expected.abs().max()
    path = tmp_path / "net"
    assert export_int8(network, path, NOTHING, images, form).difference <= 1.001
    if form is TFLITE:
        assert steps_apart(found, run_micro(path, images[0]).logits) <= MICRO


def test_grouped_depthwise_dilated_and_padded_windows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.Conv2d(16, 24, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, 2, 1, groups=24),
        nn.Conv2d(48, 8, 5, 1, 4, 2),
        nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 5),
    ).eval()
    found, path = quantised(traced(network, batches()[0][:1]), batches()), tmp_path / "net"
    for form in FORMATS:
        form.save(found, path, NOTHING)
        assert steps_apart(found, form.run(path, batches()[0])) <= 1.001
    assert steps_apart(found, run_micro(path, batches()[0]).logits) <= MICRO


class Activated(nn.Module):
    """One activation between layers, beside what it must not bound."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.beside = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.act, self.head = activation, nn.Linear(8, 3)
        self.beside.weight.data *= 20

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        joined = torch.cat([self.act(self.first(x)), self.beside(x)], 1)
        found: Tensor = self.head(nn.functional.max_pool2d(joined, 3, 2, 1).mean((2, 3)))
        return found


ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.SiLU, nn.GELU)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_beside_what_they_do_not_bound(
    tmp_path: Path, activation: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    network, images = Activated(activation()).eval(), batches()
    found = quantised(traced(network, images[0][:1]), images)
    with torch.no_grad():
        expected = network(images[0])
    assert (found.outputs(images[0]) - expected).abs().max() < 0.05 * expected.abs().max()
    for form in FORMATS:
        form.save(found, tmp_path / "net", NOTHING)
        assert steps_apart(found, form.run(tmp_path / "net", images[0])) <= 1.001
    if activation is not nn.GELU:  # which TFLite Micro does not have
        assert steps_apart(found, run_micro(tmp_path / "net", images[0]).logits) <= MICRO


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
    for form in FORMATS:
        form.save(made, tmp_path / "net", PlanFile.of(plan))
        assert steps_apart(made, form.run(tmp_path / "net", images[0])) <= 1.001


class Odd(nn.Module):
    """Layers that TFLite has no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.crop, self.head = nn.ZeroPad2d(-1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        found: Tensor = self.crop(x)
        return found


UNKNOWN = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1), nn.ConvTranspose2d(4, 2, 3))


@pytest.mark.parametrize(
    ("network", "form", "says"),
    [
        (UNKNOWN, ONNX, r"1 \(softmax\), 2 \(conv_transpose2d\)"),
        (UNKNOWN, TFLITE, r"1 \(softmax\), 2 \(conv_transpose2d\)"),
        (Odd(), TFLITE, "crop cannot be converted to TFLite: pad by a negative number"),
    ],
)
def test_layers_that_cannot_be_converted_are_named_and_nothing_is_written(
    tmp_path: Path, network: nn.Module, form: Int8Format, says: str
) -> None:
    with pytest.raises(ConversionError, match=says):
        export_int8(network, tmp_path / "net", NOTHING, batches(), form)
    assert list(tmp_path.iterdir()) == []
