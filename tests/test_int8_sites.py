"""Files in 8 bits of sites that are no ordinary convolutions: transposed, linear."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.micro import run_micro
from isoshare import Bank, SharingPlan, apply_plan
from isoshare.space.apply import deployed
from isoshare.space.errors import IsoshareError
from isoshare.space.exports.arithmetic import run
from isoshare.space.exports.int8 import export_int8
from isoshare.space.exports.onnx_file import save_onnx
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.small_graph import CONVOLUTION
from isoshare.space.exports.tflite.export import TFLITE
from isoshare.space.exports.tracing import ConversionError, traced
from isoshare.space.plan import PlanFile
from tests.int8_files import FORMATS, MICRO
from tests.test_int8 import read_tflite
from tests.test_methods import OPTIONS

TRANSPOSED: tuple[Any, ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ENLARGING = [
    (1, 3, {"padding": 1}),
    (1, 3, {"stride": 2, "padding": 1, "output_padding": 1}),
    (2, 3, {"padding": 1, "groups": 2}),
    (2, 3, {"dilation": 2}),
    (2, 3, {"padding": 3}),
    (2, 2, {"stride": 2}),
    (2, 2, {"stride": 3, "output_padding": 1}),
    (2, 3, {"stride": 2, "padding": 1, "output_padding": 1}),
    (2, 4, {"stride": 2, "padding": 1}),
    (2, (3, 2), {"stride": (1, 2)}),
    (3, 2, {"stride": 2}),
]
"""Dimensions, sides of the kernel, and the rest."""


@pytest.mark.parametrize(("count", "sides", "given"), ENLARGING)
def test_transposed_convolutions_are_ordinary_ones(
    tmp_path: Path, count: int, sides: Any, given: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    conv, images = (
        TRANSPOSED[count - 1](4, 6, sides, **given),
        torch.randn(8, 4, *[6, 7, 5][:count]),
    )
    network = nn.Sequential(conv, NORMS[count - 1](6), nn.ReLU())
    network.train()(images)
    graph = traced(network.eval(), images[:1])
    with torch.no_grad():
        assert torch.allclose(run(graph, images), network(images), atol=1e-5)
    dense = [layer for layer in graph.layers if layer.kind == CONVOLUTION]
    assert len(dense) == (2 if any(layer.kind == "transpose" for layer in graph.layers) else 1)
    for form in FORMATS[: 1 if count == 3 else 2]:
        plan = PlanFile.of(SharingPlan())
        assert export_int8(network, tmp_path / "net", plan, [images], form).difference <= MICRO


class Growing(nn.Module):
    """Two transposed convolutions that enlarge an image, then a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ConvTranspose2d(8, 8, 4, 2, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.stem, self.rest = nn.Conv2d(3, 8, 3, 4), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        x = self.stem(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x)))
        found: Tensor = self.rest(x.mean((2, 3)))
        return found


class Linear(nn.Module):
    """Linear layers and their normalisations, without positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(16) for _ in range(2))
        self.stem, self.rest = nn.Linear(12, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        x = self.stem(nn.functional.avg_pool2d(x, 8).flatten(1))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x)))
        found: Tensor = self.rest(x)
        return found


def shared(make: type[nn.Module], method: str) -> tuple[nn.Module, PlanFile, Tensor]:
    torch.manual_seed(0)
    plan = SharingPlan((Bank(method, OPTIONS[method], ("layers.0", "layers.1")),))
    network, images = apply_plan(make(), plan), torch.randn(16, 3, 16, 16)
    network.train()(images)
    return network.eval(), PlanFile.of(plan), images


@pytest.mark.parametrize(
    ("make", "method"),
    [
        *((Growing, method) for method in ("kernel", "slice_generator", "low_rank")),
        *((Linear, method) for method in ("kernel", "filter_basis", "slice_generator", "low_rank")),
    ],
)
def test_transposed_and_linear_sites_share_in_8_bits(
    tmp_path: Path, make: type[nn.Module], method: str
) -> None:
    network, plan, images = shared(make, method)
    graph = traced(deployed(network, plan.plan), images[:1])
    assert len(graph.shared) == (method in {"kernel", "filter_basis"})
    for form in FORMATS:
        assert export_int8(network, tmp_path / form.name, plan, [images], form).difference <= 2.001
    with torch.no_grad():
        expected = network(images)
    logits = TFLITE.run(tmp_path / TFLITE.name, images)
    assert (logits - expected).abs().max() < 0.1 * expected.abs().max()
    micro = run_micro(tmp_path / TFLITE.name, images).logits
    assert (micro - logits).abs().max() < 0.05 * expected.abs().max()
    if method == "kernel":
        file, _ = read_tflite(tmp_path / TFLITE.name)
        uses = [file.tensors[one.inputs[1]] for one in file.operators if len(one.inputs) == 3]
        assert len(uses) - len({one.buffer for one in uses}) == 1


def test_transposed_convolutions_with_stride_and_groups_are_named(tmp_path: Path) -> None:
    network = nn.Sequential(nn.ConvTranspose2d(4, 4, 2, 2, groups=2))
    with pytest.raises(ConversionError, match=r"0 \(conv_transpose2d\)"):
        export_int8(
            network, tmp_path / "n", PlanFile.of(SharingPlan()), [torch.randn(8, 4, 5, 5)], ONNX
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "images", "says"),
    [
        (float("nan"), torch.zeros(4, 3, 9, 9), r"NaN or infinite .* these are: 0\.weight"),
        (0.5, torch.full((4, 3, 9, 9), float("inf")), "some numbers of these are NaN"),
        (0.5, torch.zeros(0, 3, 9, 9), "and there are none"),
    ],
)
def test_weights_and_images_that_are_no_numbers_are_named(
    tmp_path: Path, value: float, images: Tensor, says: str
) -> None:
    first = nn.Conv2d(3, 4, 3)
    first.weight.data[0, 0, 0, 0] = value
    network, plan = nn.Sequential(first, nn.ReLU()), PlanFile.of(SharingPlan())
    for form in FORMATS:
        with pytest.raises(IsoshareError, match=says):
            export_int8(network, tmp_path / "n", plan, [images], form)
    if math.isnan(value):
        with pytest.raises(IsoshareError, match=says):
            save_onnx(network, tmp_path / "n", plan, (3, 9, 9))
    assert list(tmp_path.iterdir()) == []
