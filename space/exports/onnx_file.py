"""A shared network as an ONNX file: each shared tensor once, the plan beside them.

The graph computes what the network computes in evaluation, on batches of any size: tied kernels are
one initialiser, a filter basis is the convolutions by its filters and the one by its coefficients,
an anchored site its convolution and its regulator, a generated kernel is generated in the graph
(runtimes do so once, when they load the file).

A runtime that folds batch normalisation into the kernel before it makes a kernel for each site of
those that share one. So a normalisation stands in the graph as what it computes, a depthwise
convolution of 1x1: no runtime folds one convolution into another, and they are as quick at it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from isoshare.space.apply import bake as bake_sites
from isoshare.space.apply import deployed
from isoshare.space.errors import IsoshareError, in_one_line
from isoshare.space.exports.checks import check_numbers, computed
from isoshare.space.exports.onnx_norms import keep_shared
from isoshare.space.files import atomic_write
from isoshare.space.network_copy import copy_network
from isoshare.space.plan import PlanFile
from isoshare.space.weights.saving import PLAN_KEY

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOOLS_KEY = "isoshare.tools"
FEW_IMAGES = 3
TOLERANCE = 1e-4
"""Of the largest output: files that differ by more are not written. Usual are 1e-7 to 1e-6."""


class OnnxError(IsoshareError):
    """A network that cannot become an ONNX file."""


def check_packages() -> None:
    """Raise OnnxError with the command that installs what is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise OnnxError(
            f"ONNX files need {' and '.join(missing)}, not installed here: "
            f"pip install {' '.join(missing)}, or 'isoshare[onnx]'"
        )


def save_onnx(
    network: nn.Module, path: str | Path, plan: PlanFile, image: Sequence[int], bake: bool = False
) -> float:
    """Write a network shared by ``plan`` as an ONNX file, the whole file or nothing.

    Input ``images`` (batch, *image) float32, normalised as in training; output ``logits``.

    image: channels, height and width of an input image.
    bake: make each site an ordinary convolution with its own kernel, for runtimes that have no room
        or no operators to compute kernels; the file may be larger than the shared network.

    Returns the largest difference, in onnxruntime, to the outputs of torch. Raises OnnxError.
    """
    check_packages()
    check_numbers(network)
    images = _images(image)
    expected = computed(copy_network(network).eval(), images)
    whole = bake_sites(network, plan.plan) if bake else deployed(network, plan.plan)
    with atomic_write(path) as half:
        _write(_graph(whole, images[:2]), half, plan)
        return _difference(expected, half, images)


def _images(image: Sequence[int]) -> Tensor:
    try:
        return torch.randn(FEW_IMAGES, *image, generator=torch.Generator().manual_seed(0))
    except RuntimeError as error:
        sides = "x".join(map(str, image))
        raise OnnxError(f"images of {sides} do not fit into memory: give smaller ones") from error


def _graph(network: nn.Module, images: Tensor) -> Any:
    """The network as an ``onnx_ir.Model``."""
    batch = ({0: torch.export.Dim("batch")},)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                network,
                (images,),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=batch,
                dynamo=True,
                optimize=False,  # it would fold weights
                verbose=False,
            )
    except Exception as error:  # whatever the exporter says of the user's network
        reason = in_one_line(error)
        raise OnnxError(
            f"torch.onnx cannot export this network: {reason}; export it as safetensors instead, "
            "or with --bake if it reads the weights of its layers"
        ) from error
    assert program is not None, "the exporter returns its program"
    return _tidied(program.model)


def _tidied(model: Any) -> Any:
    """Without what does not depend on images or weights, and without traces of the exporter."""
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential
    from onnxscript.optimizer import fold_constants

    weights = set(model.graph.initializers)

    def keep_weights(node: Any) -> bool | None:
        return False if any(v and v.name in weights for v in node.inputs) else None

    fold_constants(model, should_fold=keep_weights)
    tidy = Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
    )
    tidy(model)
    _drop_fillers(model, weights)
    keep_shared(model)
    return model


def _drop_fillers(model: Any, weights: Collection[str]) -> None:
    """Take away the zeros that the exporter puts where a convolution has no bias: of one in three
    dimensions they have a shape that no runtime takes.
    """
    for node in model.graph:
        bias = node.inputs[2] if node.op_type.startswith("Conv") and len(node.inputs) > 2 else None
        if bias is None or not bias.is_initializer() or bias.name in weights:
            continue
        if not bias.const_value.numpy().any():
            node.replace_input_with(2, None)
            node.resize_inputs(2)  # an empty third one keeps runtimes from folding


def versions(*packages: str) -> str:
    """Of the packages that a file was written and tried with."""
    return ", ".join(f"{name} {version(name)}" for name in packages)


def _write(model: Any, path: Path, plan: PlanFile) -> None:
    import onnx_ir

    tools = versions("torch", *PACKAGES)
    model.metadata_props.update({PLAN_KEY: plan.text, TOOLS_KEY: tools})
    model.producer_name, model.producer_version = "isoshare", version("isoshare")
    onnx_ir.save(model, path)


def _difference(expected: Tensor, path: Path, images: Tensor) -> float:
    """How far onnxruntime is from the network as it was trained, on another batch size than was
    traced: what asks for the kind of a layer may do something else with the layers in the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    difference = float((torch.from_numpy(found) - expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise OnnxError(
            f"the ONNX file computes something else than the network (outputs differ by "
            f"{difference:.2g}), so it is not written; export it with --bake, or as safetensors"
        )
    return difference
