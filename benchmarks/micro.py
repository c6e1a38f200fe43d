"""TFLite Micro on this machine: what a file computes there, and the arena that it needs."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tflite_micro.python.tflite_micro import runtime
from torch import Tensor

from isoshare.space.exports.tflite.writer import as_integers

ROOM = 30_000_000
"""Bytes of arena that are enough for every network here."""


@dataclass(frozen=True)
class MicroRun:
    """logits: (batch, classes). arena: bytes in all; activations: bytes of these for tensors
    between layers, the rest are the interpreter's notes about layers.
    """

    logits: Tensor
    arena: int
    activations: int


def run_micro(path: Path, images: Tensor) -> MicroRun:
    """Of images (batch, channels, height, width), one by one."""
    interpreter = runtime.Interpreter.from_file(str(path), arena_size=ROOM)
    start, end = (
        (float(found["scales"][0]), int(found["zero_points"][0]))
        for found in (
            interpreter.get_input_details(0)["quantization_parameters"],
            interpreter.get_output_details(0)["quantization_parameters"],
        )
    )
    logits = []
    for image in as_integers(images, *start):
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        logits.append(interpreter.get_output(0))
    real = (np.concatenate(logits).astype(np.float32) - end[1]) * np.float32(end[0])
    return MicroRun(torch.from_numpy(real), *_allocations(interpreter))


def arena_of(path: Path) -> tuple[int, int] | None:
    """Bytes of arena, and of these for activations; None for operators that it does not have."""
    try:
        return _allocations(runtime.Interpreter.from_file(str(path), arena_size=ROOM))
    except RuntimeError:
        return None


def _allocations(interpreter: runtime.Interpreter) -> tuple[int, int]:
    """The interpreter prints them to the standard error of the process."""
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile("w+") as printed:
            os.dup2(printed.fileno(), 2)
            interpreter.print_allocations()
            os.dup2(kept, 2)
            printed.seek(0)
            text = printed.read()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    whole, head = (re.search(rf"allocation {word} (\d+) bytes", text) for word in ("total", "head"))
    assert whole is not None, "printed by every version so far"
    assert head is not None, "printed by every version so far"
    return int(whole[1]), int(head[1])
