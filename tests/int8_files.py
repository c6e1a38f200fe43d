"""What the tests of files in 8 bits have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from isoshare import SharingPlan
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.quantised import Quantised
from isoshare.space.exports.tflite.export import TFLITE
from isoshare.space.plan import PlanFile
from tests.test_onnx import IMAGE

NOTHING = PlanFile.of(SharingPlan())
FORMATS = (ONNX, TFLITE)
MICRO = 3.001
"""TFLite Micro rounds the sums of a convolution twice, and is so many steps from the reference."""


def batches(shape: tuple[int, ...] = IMAGE) -> list[Tensor]:
    return [torch.randn(16, *shape, generator=torch.Generator().manual_seed(1))]


def steps_apart(quantised: Quantised, logits: Tensor) -> float:
    """From the reference, at most, in steps of 8 bits."""
    step = quantised.steps[quantised.graph.output].scale
    return float((logits - quantised.outputs(batches()[0])).abs().max()) / step
