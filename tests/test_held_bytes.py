"""What runtimes hold of small networks is what ``device_bytes`` counts, for every method, kind of
site and format.

In float32 one kind of site here, all of them with ISOSHARE_ALL_EXPORTS=1: each file takes seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan, apply_plan, find_sites
from isoshare.space.apply import deployed
from isoshare.space.costs.closed_form import device_bytes
from isoshare.space.errors import PlanError
from isoshare.space.exports.onnx_file import save_onnx
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.quantised import quantised
from isoshare.space.exports.tflite.export import FAST_TFLITE, TFLITE
from isoshare.space.exports.tracing import traced
from isoshare.space.methods import METHODS
from isoshare.space.methods.device import Target
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import PlanFile
from tests.test_int8 import optimised, read_tflite
from tests.test_methods import OPTIONS

WIDTH = 16
"""Blocked layouts fill channels up to a multiple of 16."""
KINDS: dict[str, Any] = {
    "convolution 1d": (nn.Conv1d, nn.BatchNorm1d, {"padding": 1}),
    "convolution 2d": (nn.Conv2d, nn.BatchNorm2d, {"padding": 1}),
    "convolution 3d": (nn.Conv3d, nn.BatchNorm3d, {"padding": 1}),
    "grouped": (nn.Conv2d, nn.BatchNorm2d, {"padding": 1, "groups": 4}),
    "depthwise": (nn.Conv2d, nn.BatchNorm2d, {"padding": 1, "groups": WIDTH}),
    "transposed 1d": (nn.ConvTranspose1d, nn.BatchNorm1d, {"padding": 1}),
    "transposed 2d": (nn.ConvTranspose2d, nn.BatchNorm2d, {"padding": 1}),
    "transposed 3d": (nn.ConvTranspose3d, nn.BatchNorm3d, {"padding": 1}),
    "linear": (nn.Linear, nn.BatchNorm1d, {}),
}


class Small(nn.Module):
    """Two layers of a kind, each with a normalisation, and a head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        make, norm, given = KINDS[kind]
        sides = () if make is nn.Linear else (3,)
        self.layers = nn.ModuleList(make(WIDTH, WIDTH, *sides, **given) for _ in range(2))
        self.norms = nn.ModuleList(norm(WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 16, ...)."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x)))
        logits: Tensor = self.head(x.flatten(2).mean(2) if x.dim() > 2 else x)
        return logits


def images_of(kind: str) -> Tensor:
    made = torch.Generator().manual_seed(0)
    count = next((int(one) for one in kind if one.isdecimal()), 0 if kind == "linear" else 2)
    return torch.randn(16, WIDTH, *[6] * count, generator=made)


@dataclass(frozen=True)
class Made:
    """A small network that shares, as a plan and with images."""

    network: nn.Module
    plan: PlanFile
    images: Tensor
    unshared: nn.Module

    def held(self, target: Target) -> int:
        """What a device holds in closed form."""
        sites = find_sites(self.unshared)
        costs = network_costs(self.unshared, sites, torch.zeros(1, *self.images.shape[1:]))
        return device_bytes(self.plan.plan, sites, costs, target)


def made(kind: str, method: str) -> Made | None:
    """None where layers of this kind cannot share so."""
    torch.manual_seed(0)
    unshared, images = Small(kind), images_of(kind)
    options = {"shared_rank": 16} if method == "filter_basis" else OPTIONS[method]
    plan = SharingPlan((Bank(method, options, ("layers.0", "layers.1")),))
    try:
        network = apply_plan(unshared, plan)
    except PlanError:
        return None
    network.train()(images)
    with torch.no_grad():  # no two tensors are equal by chance
        for tensor in network.parameters():
            tensor.add_(0.01 * torch.randn_like(tensor))
    return Made(network.eval(), PlanFile.of(plan), images, unshared)


CASES = [case for case in product(KINDS, METHODS) if made(*case) is not None]
IN_THREE = [kind for kind in KINDS if kind.endswith("3d")]
A_LAYER = 18
"""Bytes that a layer has beside its weights: steps and zero points of tensors, shapes."""


def onnx_bytes(path: Path) -> tuple[int, int]:
    """Of weights in onnxruntime, and of what is beside them: numbers for a whole tensor, shapes,
    and zero points, of which a vector serves all kernels of one width.
    """
    arrays = [onnx.numpy_helper.to_array(one) for one in optimised(path).initializer]
    shapes = [one for one in arrays if one.dtype == np.int64]
    zeros = [one for one in arrays if one.dtype == np.uint8 and one.ndim < 2]
    steps = [one for one in arrays if one.dtype == np.float32 and one.size == 1]
    beside = sum(one.nbytes for one in (*shapes, *zeros, *steps))
    return sum(one.nbytes for one in arrays) - beside, beside


def tflite_bytes(path: Path) -> tuple[int, int]:
    """The same in a TFLite file; zero points are tables there, as are the scales of biases, which
    are products of two others. Scales count for each use: those of an anchor, which has the same
    ones everywhere, stand there once.
    """
    graph, buffers = read_tflite(path)
    convolutions = [one.inputs for one in graph.operators if len(one.inputs) == 3]
    weights = {graph.tensors[place].buffer for inputs in convolutions for place in inputs[1:]}
    stored = {place: len(one.data) for place, one in enumerate(buffers) if one.data is not None}
    kernels = [graph.tensors[inputs[1]] for inputs in convolutions]
    ours = sum(one.quantization.scale.nbytes for one in kernels)
    ours += sum(stored[place] for place in weights)
    numbers = [
        one for one in graph.tensors if one.quantization and len(one.quantization.scale) == 1
    ]
    beside = sum(size for place, size in stored.items() if place not in weights)
    return ours, beside + sum(one.quantization.scale.nbytes for one in numbers)


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_8_bits_hold_what_is_counted(tmp_path: Path, kind: str, method: str) -> None:
    found = made(kind, method)
    assert found is not None
    graph = traced(deployed(found.network, found.plan.plan), found.images[:1])
    rounded, held = quantised(graph, [found.images]), found.held("int8")
    sizes = []
    ONNX.save(rounded, tmp_path / "net.onnx", found.plan)
    sizes.append(onnx_bytes(tmp_path / "net.onnx"))
    if kind not in IN_THREE:
        TFLITE.save(rounded, tmp_path / "net.tflite", found.plan)
        sizes.append(tflite_bytes(tmp_path / "net.tflite"))
        FAST_TFLITE.save(rounded, tmp_path / "fast.tflite", found.plan)
        sizes.append(tflite_bytes(tmp_path / "fast.tflite"))
    for weights, beside in sizes:
        assert 0.97 * held <= weights <= held
        assert 0 < beside <= A_LAYER * len(graph.layers)


EVERYWHERE = os.environ.get("ISOSHARE_ALL_EXPORTS") == "1"
SOME = [("depthwise", "kernel"), ("transposed 1d", "low_rank"), ("linear", "filter_basis")]


@pytest.mark.parametrize(("kind", "method"), CASES if EVERYWHERE else SOME)
def test_float32_holds_what_is_counted(tmp_path: Path, kind: str, method: str) -> None:
    found, path = made(kind, method), tmp_path / "net.onnx"
    assert found is not None
    save_onnx(found.network, path, found.plan, found.images.shape[1:])
    arrays = [onnx.numpy_helper.to_array(one) for one in optimised(path).initializer]
    weights = sum(one.nbytes for one in arrays if one.dtype == np.float32)
    held = found.held("float32")
    if kind == "linear":  # a normalisation behind a kernel of its own is not folded there
        held += 2 * 4 * WIDTH * len(found.plan.plan.sites)
    assert 0.97 * found.held("float32") <= weights <= 1.05 * held
