"""Layers in files of 8 bits: every kind in every runtime, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.micro import run_micro
from isoshare import Bank, SharingPlan, apply_plan, find_sites
from isoshare.space.costs.closed_form import device_bytes
from isoshare.space.exports.arithmetic import run
from isoshare.space.exports.int8 import Int8Format, export_int8
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.quantised import Quantised, quantised, signs
from isoshare.space.exports.tflite.export import TFLITE
from isoshare.space.exports.tracing import ConversionError, traced
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import PlanFile
from tests.int8_files import FORMATS, MICRO, NOTHING, batches, steps_apart
from tests.test_int8 import optimised, read_tflite
from tests.test_onnx import held_bytes


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


def gated(wide: float = 1) -> nn.Module:
    """wide: how far numbers are from those that a gate tells apart."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3), nn.Hardsigmoid(), nn.Conv2d(4, 4, 3), nn.Hardswish()]
    parts[0].weight.data *= wide  # type: ignore[operator, assignment]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def test_gates_of_numbers_that_are_far_from_them(tmp_path: Path) -> None:
    network, images, path = gated(2000), batches(), tmp_path / "net"
    found = quantised(traced(network, images[0][:1]), images)
    assert max(one.scale for one in found.steps.values()) > 10, "where sums of 16 bits wrap"
    assert export_int8(network, path, NOTHING, images, TFLITE).difference <= 1.001
    assert steps_apart(found, run_micro(path, images[0]).logits) <= MICRO


FAULTS = [(ONNX, "kernel"), (ONNX, "hardswish")]
FAULTS += [(TFLITE, fault) for fault in ("kernel", "hardswish", "sigmoid")]
"""A sigmoid is so near that logits hardly differ; TFLite files are looked at layer by layer."""


@pytest.mark.parametrize(("form", "fault"), FAULTS)
def test_a_file_with_one_wrong_layer_is_refused(
    tmp_path: Path, form: Int8Format, fault: str
) -> None:
    def wrong(made: Quantised, path: Path, plan: PlanFile) -> None:
        """With a kernel upside down, or another operator in place of the gate."""
        layers, kernels = list(made.graph.layers), dict(made.kernels)
        if fault == "kernel":
            kernels[layers[2].kernel] = kernels[layers[2].kernel].flip(0)
        else:
            layers[1] = replace(layers[1], kind=fault)
        graph = replace(made.graph, layers=tuple(layers))
        form.save(replace(made, graph=graph, kernels=kernels), path, plan)

    named = {"kernel": r"2 \(convolution\)"}.get(fault, r"1 \(hardsigmoid\)")
    says = f"LiteRT computes {named} otherwise" if form is TFLITE else "computes something else"
    with pytest.raises(ConversionError, match=says):
        export_int8(gated(5), tmp_path / "net", NOTHING, batches(), replace(form, save=wrong))
    assert list(tmp_path.iterdir()) == []


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


class Sided(nn.Module):
    """Layers of sequences (1) or volumes (3), one kernel shared."""

    def __init__(self, sides: int) -> None:
        super().__init__()
        conv: Any = (nn.Conv1d, None, nn.Conv3d)[sides - 1]
        norm: Any = (nn.BatchNorm1d, None, nn.BatchNorm3d)[sides - 1]
        pool: Any = (nn.MaxPool1d, None, nn.MaxPool3d)[sides - 1]
        mean: Any = (nn.AvgPool1d, None, nn.AvgPool3d)[sides - 1]
        rest: Any = (nn.AdaptiveAvgPool1d, None, nn.AdaptiveAvgPool3d)[sides - 1]
        self.stem, self.alone = conv(3, 24, 3, 2, 1), norm(3)
        self.first, self.second = (conv(24, 24, 3, padding="same", bias=False) for _ in range(2))
        self.norms = nn.ModuleList(norm(24) for _ in range(2))
        self.deep = conv(24, 48, 3, padding=2, dilation=2, groups=24)
        self.pool, self.mean, self.rest = pool(3, 1, 1), mean(2), rest(1)
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, sides of 12)."""
        y = torch.relu(self.stem(self.alone(x)))
        y = y + torch.relu(self.norms[0](self.first(y)))
        y = y + torch.relu(self.norms[1](self.second(y)))
        left, right = y.chunk(2, 1)
        y = self.deep(torch.cat([right, left], 1)).transpose(1, 2).transpose(1, 2)
        y = self.mean(nn.functional.pad(self.pool(y), (1, 0)))[..., 1:]
        found: Tensor = self.head(self.rest(y).flatten(1) + y.mean(tuple(range(2, y.dim()))))
        return found


def sided(sides: int) -> tuple[nn.Module, PlanFile, Tensor]:
    torch.manual_seed(0)
    plan = SharingPlan((Bank("kernel", {}, ("first", "second")),))
    network, images = apply_plan(Sided(sides), plan), torch.randn(16, 3, *[12] * sides)
    network.train()(images)
    return network.eval(), PlanFile.of(plan), images


@pytest.mark.parametrize("sides", [1, 3])
def test_sequences_and_volumes_keep_their_shared_kernel(tmp_path: Path, sides: int) -> None:
    network, plan, images = sided(sides)
    graph = traced(network, images[:1])
    with torch.no_grad():
        expected = network(images)
        assert torch.allclose(run(graph, images), expected, atol=1e-5)
    found, path = quantised(graph, [images]), tmp_path / "net.onnx"
    assert (found.outputs(images) - expected).abs().max() < 0.1 * expected.abs().max()
    assert export_int8(network, path, plan, [images], ONNX).difference <= 2.001
    kinds = Counter(node.op_type for node in optimised(path).node)
    assert kinds["QLinearConv"] == sum(bool(one.kernel) for one in found.graph.layers)
    assert not kinds["Conv"]
    assert len(found.graph.shared) == 1
    sites = find_sites(Sided(sides))
    costs = network_costs(Sided(sides), sites, images[:1])
    counted = device_bytes(plan.plan, sites, costs, "int8")
    assert held_bytes(optimised(path)) <= 1.05 * counted
    held = [one for one in optimised(path).initializer if len(one.dims) == sides + 2]
    assert len(held) == kinds["QLinearConv"] - 2  # the linear layer's is one of two dimensions


def test_sequences_are_images_of_height_one_in_tflite(tmp_path: Path) -> None:
    network, plan, images = sided(1)
    path = tmp_path / "net.tflite"
    assert export_int8(network, path, plan, [images], TFLITE).difference <= 2.001
    found = quantised(traced(network, images[:1]), [images])
    step = found.steps[found.graph.output].scale
    micro = run_micro(path, images)
    assert (micro.logits - found.outputs(images)).abs().max() <= MICRO * step
    graph, _ = read_tflite(path)
    assert list(graph.tensors[graph.inputs[0]].shape) == [1, 1, 12, 3]
    kernels = [
        graph.tensors[one.inputs[1]].buffer for one in graph.operators if len(one.inputs) == 3
    ]
    assert len(kernels) - len(set(kernels)) == 1


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("sides", [1, 2])
def test_outputs_with_positions_are_in_torchs_order(
    tmp_path: Path, form: Int8Format, sides: int
) -> None:
    torch.manual_seed(0)
    conv: Any = (nn.Conv1d, nn.Conv2d)[sides - 1]
    network = nn.Sequential(conv(3, 4, 3), nn.ReLU(), conv(4, 5, 1)).eval()
    images = torch.randn(8, 3, *[(9, 7)[side] for side in range(sides)])
    path = tmp_path / "net"
    assert export_int8(network, path, NOTHING, [images], form).difference <= 1.001
    path.unlink()
    with pytest.raises(ConversionError, match=r"fine-tuned on logits \(batch, classes\)"):
        export_int8(network, path, NOTHING, [images], form, tune=lambda *_: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("depth", "steps", "fits"), [(2, 4, True), (2, 6, False), (24, 6, True)])
def test_deep_networks_may_be_a_few_steps_farther_off(
    tmp_path: Path, depth: int, steps: int, fits: bool
) -> None:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Conv2d(3, 3, 1) for _ in range(depth)]
    network = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = batches()
    made = quantised(traced(network, images[0][:1]), images)
    wrong = steps * made.steps[made.graph.output].scale
    form = replace(ONNX, run=lambda _, some: made.outputs(some) + wrong)
    if fits:
        found = export_int8(network, tmp_path / "net", NOTHING, images, form)
        assert abs(found.difference - steps) < 0.001
        return
    with pytest.raises(ConversionError, match="differ by 6 steps of 8 bits"):
        export_int8(network, tmp_path / "net", NOTHING, images, form)
    assert list(tmp_path.iterdir()) == []


class Odd(nn.Module):
    """Layers that TFLite has no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.crop, self.head = nn.ZeroPad2d(-1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        found: Tensor = self.crop(x)
        return found


class Volumes(nn.Module):
    """Layers that TFLite has in floating point alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, 16, 16)."""
        found: Tensor = self.conv(x[:, None])
        return found.flatten(1)


GROUPS = nn.ConvTranspose2d(4, 4, 2, 2, groups=2)
UNKNOWN = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1), GROUPS)


@pytest.mark.parametrize(
    ("network", "form", "says"),
    [
        (UNKNOWN, ONNX, r"1 \(softmax\), 2 \(conv_transpose2d\)"),
        (UNKNOWN, TFLITE, r"1 \(softmax\), 2 \(conv_transpose2d\)"),
        (Odd(), TFLITE, "crop cannot be converted to TFLite: pad by a negative number"),
        (Volumes(), TFLITE, "conv cannot be converted to TFLite: convolution in three dimensions"),
    ],
)
def test_layers_that_cannot_be_converted_are_named_and_nothing_is_written(
    tmp_path: Path, network: nn.Module, form: Int8Format, says: str
) -> None:
    with pytest.raises(ConversionError, match=says):
        export_int8(network, tmp_path / "net", NOTHING, batches(), form, tune=unreached)
    assert list(tmp_path.iterdir()) == []


def unreached(*_: object) -> None:
    pytest.fail("trained for a file that cannot be written")
