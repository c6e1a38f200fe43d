"""A quantised network as a TFLite file: each shared kernel one buffer, for LiteRT and TFLite Micro.

The kernel of each site is a tensor with scales of its own; those of one bank point at one buffer,
which stands in flash once. Everything is int8, images and logits as well, and of a batch of one, as
microcontrollers take it. Biases have no scales: interpreters need none, and the XNNPACK delegate of
LiteRT, which would pack a private copy of the kernel for each site, leaves such layers alone. Fast
files have them: quicker on large processors, as much memory there as unshared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isoshare.space.exports.int8 import Exported, Int8Format, Tune, export_int8
from isoshare.space.exports.quantised import Quantised
from isoshare.space.exports.tflite.layers import check_layers
from isoshare.space.exports.tflite.operators import WRITERS
from isoshare.space.exports.tflite.sequences import as_images
from isoshare.space.exports.tflite.writer import Writer, as_integers, stored
from isoshare.space.exports.tracing import ConversionError
from isoshare.space.plan import PlanFile

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "ai-edge-litert"


def check_package() -> None:
    """Raise ConversionError with the command that installs what is missing."""
    if find_spec("ai_edge_litert") is None:
        raise ConversionError(
            f"TFLite files need {PACKAGE}, not installed here: pip install {PACKAGE}, or "
            "'isoshare[tflite]'"
        )


def export_tflite(  # noqa: PLR0913  what is written, and two that may be left out
    network: nn.Module,
    path: str | Path,
    plan: PlanFile,
    batches: Sequence[Tensor],
    tune: Tune | None = None,
    *,
    fast: bool = False,
) -> Exported:
    """Write a network shared by ``plan`` in 8 bits: see ``export_int8``.

    Input ``images`` (1, height, width, channels) and output ``logits`` (1, classes), both int8 with
    their scale and zero point in the file. fast: let LiteRT pack kernels for each site.
    """
    check_package()
    return export_int8(network, path, plan, batches, FAST_TFLITE if fast else TFLITE, tune=tune)


def run_tflite(path: Path, images: Tensor) -> Tensor:
    """The logits of a file in LiteRT at its default settings, channels behind the batch as in
    images: (batch, channels, height, width).
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ConversionError(f"LiteRT cannot load the network: {error}") from error
    (start,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    logits = []
    for image in as_integers(images, *start["quantization"]):
        interpreter.set_tensor(start["index"], image[None])
        interpreter.invoke()
        logits.append(interpreter.get_tensor(end["index"]))
    scale, zero = end["quantization"]
    real = torch.from_numpy((np.concatenate(logits).astype(np.float32) - zero) * scale)
    return real.permute(np.argsort(stored(real.dim())).tolist())


def _save(quantised: Quantised, path: Path, plan: PlanFile, fast: bool = False) -> None:
    made = as_images(quantised)
    writer, graph = Writer(made, fast), made.graph
    for layer in graph.layers:
        try:
            WRITERS[layer.kind](writer, layer)
        except ValueError as error:
            raise ConversionError(
                f"{layer.where or 'the network itself'} cannot be converted to TFLite: "
                f"{layer.kind} {error}; express it in other layers, or export as onnx"
            ) from error
    versions = f"isoshare {version('isoshare')}, {PACKAGE} {version(PACKAGE)}"
    ends = (writer.places[graph.input], writer.places[graph.output])
    writer.file.save(path, *ends, f"{versions}, plan {plan.plan.fingerprint}")


TFLITE = Int8Format("TFLite", WRITERS, _save, run_tflite, check_layers)
FAST_TFLITE = replace(TFLITE, save=partial(_save, fast=True))
