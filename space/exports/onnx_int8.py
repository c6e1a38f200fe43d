"""A quantised network as an ONNX file: each shared kernel one initialiser of 8 bits.

QDQ: every tensor is quantised and read again, and runtimes make integer arithmetic of it. Integers
are unsigned, with a zero point of 128 for kernels: with signed kernels onnxruntime saturates sums
of two products at 16 bits on processors that have AVX2 alone, and computes something else there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isoshare.space.exports.int8 import Exported, Int8Format, Tune, export_int8
from isoshare.space.exports.onnx_file import TOOLS_KEY, versions
from isoshare.space.exports.quantised import Quantised
from isoshare.space.exports.small_graph import CONVOLUTION, REQUANTISED, Layer
from isoshare.space.plan import PlanFile
from isoshare.space.weights.saving import PLAN_KEY

if TYPE_CHECKING:
    from torch import nn

UNSIGNED = 128
OPSET, IR = 20, 9


def export_onnx_int8(
    network: nn.Module,
    path: str | Path,
    plan: PlanFile,
    batches: Sequence[Tensor],
    tune: Tune | None = None,
) -> Exported:
    """Write a network shared by ``plan`` in 8 bits: see ``export_int8``.

    Input ``images`` (batch, channels, height, width) float32; output ``logits``.
    """
    return export_int8(network, path, plan, batches, ONNX, tune=tune)


def run_onnx(path: Path, images: Tensor) -> Tensor:
    """The logits of a file in onnxruntime, at its default settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    return torch.from_numpy(logits)


class _Writer:
    """Collects nodes and initialisers."""

    def __init__(self, quantised: Quantised) -> None:
        self.quantised = quantised
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}

    def save(self, path: Path, plan: PlanFile) -> None:
        """The whole graph."""
        import onnx
        from onnx import TensorProto, helper

        graph = self.quantised.graph
        self.round(graph.input, "images")
        for layer in graph.layers:
            real = f"{layer.output}.real"
            (self._convolution if layer.kind == CONVOLUTION else self._other)(layer, real)
            self.round(layer.output, real, last=layer.output == graph.output)
        names = {"images": graph.input, "logits": graph.output}
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sides])
            for name, sides in ((name, graph.shapes[one][1:]) for name, one in names.items())
        ]
        self._shorten()
        made = helper.make_graph(
            self.nodes, "network", ends[:1], ends[1:], list(self.initialisers.values())
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=IR)
        model.producer_name, model.producer_version = "isoshare", version("isoshare")
        tools = versions("torch", "onnx", "onnxruntime")
        helper.set_model_props(model, {PLAN_KEY: plan.text, TOOLS_KEY: tools})
        onnx.checker.check_model(model)
        onnx.save(model, path)

    def _shorten(self) -> None:
        """Number all tensors but input and output: names took more of a small file than kernels."""
        known = {name: name for name in ("images", "logits")}
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [known.setdefault(name, f"{len(known):x}") for name in names]
        for name, tensor in self.initialisers.items():
            tensor.name = known[name]

    def round(self, name: str, real: str, last: bool = False) -> None:
        """Quantise ``real`` as the tensor ``name`` and read it again."""
        steps = self.quantised.steps[name]
        both = self._steps(steps.scale, steps.zero + UNSIGNED)
        self._node("QuantizeLinear", [real, *both], f"{name}.q")
        self._node("DequantizeLinear", [f"{name}.q", *both], "logits" if last else name)

    def _convolution(self, layer: Layer, real: str) -> None:
        quantised, width = self.quantised, len(self.quantised.kernels[layer.kernel])
        scale = quantised.weight_scale(layer)
        step = quantised.steps[layer.inputs[0]].scale * scale
        kernel = (quantised.kernels[layer.kernel] + UNSIGNED).numpy().astype(np.uint8)
        zeros = self._hold(f"zero_{width}", np.full(width, UNSIGNED, np.uint8))
        parts = [self._hold(layer.kernel, kernel), self._vector(f"{real}.scale", scale), zeros]
        self._node("DequantizeLinear", parts, f"{real}.kernel", axis=0)
        bias = quantised.bias(layer).numpy().astype(np.int32)
        parts = [self._hold(f"{real}.bias_32", bias), self._vector(f"{real}.step", step)]
        self._node("DequantizeLinear", parts, f"{real}.bias", axis=0)
        options = layer.options
        self._node(
            "Conv",
            [layer.inputs[0], f"{real}.kernel", f"{real}.bias"],
            real,
            kernel_shape=kernel.shape[2:],
            strides=options["stride"],
            pads=[*options["padding"], *options["padding"]],
            dilations=options["dilation"],
            group=options["groups"],
        )

    def _other(self, layer: Layer, real: str) -> None:
        name, inputs, attributes = OPERATORS[layer.kind](self, layer)
        self._node(name, inputs, real, **attributes)

    def _hold(self, name: str, array: Any) -> str:
        from onnx import numpy_helper

        self.initialisers.setdefault(name, numpy_helper.from_array(np.asarray(array), name))
        return name

    def _vector(self, name: str, tensor: Tensor) -> str:
        return self._hold(name, tensor.numpy().astype(np.float32))

    def whole_numbers(self, *numbers: int) -> str:
        """An initialiser of int64."""
        return self._hold(f"int_{'_'.join(map(str, numbers))}", np.array(numbers, np.int64))

    def _steps(self, scale: float, zero: int) -> list[str]:
        one = self._hold(f"scale_{np.float32(scale):.9e}", np.float32(scale))
        return [one, self._hold(f"zero_of_{zero}", np.uint8(zero))]

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))


Made = tuple[str, list[str], Mapping[str, Any]]


def _named(name: str, **attributes: Any) -> Callable[[_Writer, Layer], Made]:
    return lambda _, layer: (name, list(layer.inputs), attributes)


def _pool(name: str) -> Callable[[_Writer, Layer], Made]:
    def made(_: _Writer, layer: Layer) -> Made:
        options = layer.options
        pads = [*options["padding"], *options["padding"]]
        shape = {"kernel_shape": options["size"], "strides": options["stride"], "pads": pads}
        return name, list(layer.inputs), shape

    return made


def _reshape(writer: _Writer, layer: Layer) -> Made:
    shape = writer.quantised.graph.shapes[layer.output]
    return "Reshape", [*layer.inputs, writer.whole_numbers(-1, *shape[1:])], {}


def _slice(writer: _Writer, layer: Layer) -> Made:
    found = (layer.options[key] for key in ("start", "end", "dim", "step"))
    return "Slice", [*layer.inputs, *map(writer.whole_numbers, found)], {}


def _pad(writer: _Writer, layer: Layer) -> Made:
    before, after = zip(*layer.options["pairs"], strict=True)
    return "Pad", [*layer.inputs, writer.whole_numbers(*before, *after)], {}


OPERATORS: dict[str, Callable[[_Writer, Layer], Made]] = {
    REQUANTISED: _named("Identity"),
    "relu": _named("Relu"),
    "relu6": _named("Relu"),  # six is the greatest value of the steps of its output
    "gelu": lambda _, layer: ("Gelu", list(layer.inputs), layer.options),
    "hardswish": _named("HardSwish"),
    "hardsigmoid": _named("HardSigmoid", alpha=1 / 6, beta=0.5),
    "sigmoid": _named("Sigmoid"),
    "add": _named("Add"),
    "mul": _named("Mul"),
    "concat": lambda _, layer: ("Concat", list(layer.inputs), {"axis": layer.options["dim"]}),
    "mean": _named("GlobalAveragePool"),
    "average_pool": _pool("AveragePool"),
    "max_pool": _pool("MaxPool"),
    "reshape": _reshape,
    "slice": _slice,
    "pad": _pad,
    "depth_to_space": lambda _, layer: (
        "DepthToSpace",
        list(layer.inputs),
        {"blocksize": layer.options["step"], "mode": "DCR"},
    ),
    "transpose": lambda _, layer: (
        "Transpose",
        list(layer.inputs),
        {"perm": layer.options["order"]},
    ),
}
"""By kind: operator, inputs and attributes."""


def _save(quantised: Quantised, path: Path, plan: PlanFile) -> None:
    _Writer(quantised).save(path, plan)


ONNX = Int8Format("ONNX", OPERATORS, _save, run_onnx)
