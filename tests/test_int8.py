"""Files in 8 bits: integers in every runtime, shared kernels once, outputs of the reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from benchmarks.micro import run_micro
from isoshare import find_sites
from isoshare.space.apply import deployed
from isoshare.space.backbones import build_backbone
from isoshare.space.costs.closed_form import device_bytes
from isoshare.space.exports.int8 import Int8Format
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.quantised import Quantised, quantised
from isoshare.space.exports.tflite.export import FAST_TFLITE, TFLITE
from isoshare.space.exports.tracing import traced
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import PlanFile
from tests.int8_files import MICRO, batches, steps_apart
from tests.test_onnx import IMAGE, WIDE, WIDE_OPTIONS, held_bytes, network_of


def optimised(path: Path) -> Any:
    """The graph that onnxruntime runs, at its default settings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath).graph


@dataclass(frozen=True)
class Made:
    """A shared network in 8 bits, before it is a file. held: what a device holds in closed form."""

    network: nn.Module
    plan: PlanFile
    quantised: Quantised
    held: int


@cache
def made(method: str) -> Made:
    network, plan = network_of("resnet_cifar", method, WIDE, WIDE_OPTIONS)
    graph = traced(deployed(network, plan.plan), batches()[0][:1])
    unshared = build_backbone("resnet_cifar", WIDE["resnet_cifar"])
    sites = find_sites(unshared)
    costs = network_costs(unshared, sites, torch.zeros(1, *IMAGE))
    held = device_bytes(plan.plan, sites, costs, "int8")
    return Made(network, plan, quantised(graph, batches()), held)


def saved(found: Made, form: Int8Format, path: Path) -> Tensor:
    """The logits of a file, in its runtime, which are those of the reference."""
    form.save(found.quantised, path, found.plan)
    logits = form.run(path, batches()[0])
    assert steps_apart(found.quantised, logits) <= 2.001
    return logits


SAVED = {"kernel": 1, "anchored": 1, "filter_basis": 1}
"""By method: how many kernels less than convolutions."""


@pytest.mark.parametrize("method", METHODS)
def test_shared_kernels_are_held_once_by_integer_convolutions(tmp_path: Path, method: str) -> None:
    found, path = made(method), tmp_path / "net.onnx"
    logits = saved(found, ONNX, path)
    with torch.no_grad():
        expected = found.network(batches()[0])
    assert (logits - expected).abs().max() < 0.06 * expected.abs().max()
    graph = optimised(path)
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["QLinearConv"] == sum(bool(one.kernel) for one in found.quantised.graph.layers)
    assert not kinds["Conv"]
    assert held_bytes(graph) <= 1.05 * found.held
    names = {node.input[3] for node in graph.node if node.op_type == "QLinearConv"}
    assert kinds["QLinearConv"] - len(names) == SAVED.get(method, 0)


@pytest.mark.parametrize("method", METHODS)
def test_shared_kernels_are_one_buffer_for_both_interpreters(tmp_path: Path, method: str) -> None:
    found, path = made(method), tmp_path / "net.tflite"
    logits = saved(found, TFLITE, path)
    micro = run_micro(path, batches()[0])
    assert steps_apart(found.quantised, micro.logits) <= MICRO
    assert (micro.logits - logits).abs().max() <= MICRO * step_of(found)
    graph, buffers = read_tflite(path)
    uses = [one.inputs[1] for one in graph.operators if len(one.inputs) == 3]
    kernels = [graph.tensors[place] for place in uses]
    assert len(kernels) == sum(bool(one.kernel) for one in found.quantised.graph.layers)
    assert len(kernels) - len({one.buffer for one in kernels}) == SAVED.get(method, 0)
    scales = sum(one.quantization.scale.nbytes for one in graph.tensors if one.quantization)
    content = scales + sum(len(one.data) for one in buffers if one.data is not None)
    assert content <= 1.05 * found.held
    assert path.stat().st_size <= content + 248 * len(graph.operators)
    saved(found, FAST_TFLITE, tmp_path / "fast.tflite")


def step_of(found: Made) -> float:
    return found.quantised.steps[found.quantised.graph.output].scale


def read_tflite(path: Path) -> tuple[Any, Any]:
    """The graph and the buffers of a file, by the schema's own reader."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))
    assert model.description.decode().startswith("isoshare ")
    return model.subgraphs[0], model.buffers
