"""Each layer of a TFLite file in LiteRT, beside the reference of that one layer.

What adds up over many layers is chance; what one layer makes of the numbers that it was given is
not. So a layer that is computed wrongly is found, and named, however little it does to the logits.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoshare.space.exports.arithmetic import compute
from isoshare.space.exports.quantised import Quantised
from isoshare.space.exports.tflite.sequences import as_images
from isoshare.space.exports.tflite.writer import as_integers, stored
from isoshare.space.exports.tracing import ConversionError

FEW_STEPS = 2
"""One layer differs by so many steps of 8 bits at most: ties, and sums that are rounded twice."""


def check_layers(quantised: Quantised, path: Path, images: Tensor) -> None:
    """Raise ConversionError that names a layer that LiteRT computes otherwise than the reference.

    images: a few, (batch, channels, height, width).
    """
    made = as_images(quantised)
    graph = made.integers()
    kernels = {name: kernel.double() for name, kernel in graph.kernels.items()}
    for values in _values(made, path, images):
        for layer in graph.layers:
            inputs = [values[name] for name in layer.inputs]
            steps = made.steps[layer.output]
            expected = steps.integers(compute(layer, inputs, kernels, graph.shapes))
            found = steps.integers(values[layer.output])
            if not (off := float((expected - found).abs().max())) <= FEW_STEPS:
                raise ConversionError(
                    f"LiteRT computes {layer.where or 'the network itself'} ({layer.kind}) "
                    f"otherwise than its reference ({off:.0f} steps of 8 bits), so the TFLite file "
                    "is not written; express it in other layers, or export as onnx"
                )


def _values(made: Quantised, path: Path, images: Tensor) -> Any:
    """For each image, what LiteRT has in each tensor of the graph, as real numbers."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():  # of the memory that it takes to keep all tensors
        warnings.simplefilter("ignore", UserWarning)
        interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (start,), graph = interpreter.get_input_details(), made.graph
    names = (graph.input, *(layer.output for layer in graph.layers))
    for image in as_integers(images, *start["quantization"]):
        interpreter.set_tensor(start["index"], image[None])
        interpreter.invoke()
        values = {}
        for place, name in enumerate(names):  # the first tensors of the file, in this order
            steps, found = made.steps[name], interpreter.get_tensor(place)
            real = (torch.from_numpy(found.astype(np.float64)) - steps.zero) * steps.scale
            values[name] = real.permute(np.argsort(stored(real.dim())).tolist())
        yield values
