"""From a network to a file in 8 bits: checked before it is written, compared after."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isoshare.space.apply import deployed
from isoshare.space.exports.checks import check_images, check_numbers, computed
from isoshare.space.exports.fake_quantised import FakeQuantised
from isoshare.space.exports.quantised import Quantised, quantised
from isoshare.space.exports.small_graph import CONVOLUTION, REQUANTISED, SmallGraph
from isoshare.space.exports.tracing import ConversionError, traced
from isoshare.space.files import atomic_write
from isoshare.space.network_copy import copy_network
from isoshare.space.plan import PlanFile

if TYPE_CHECKING:
    from torch import nn

Tune = Callable[[FakeQuantised, "nn.Module"], object]
"""Trains the first to answer as the second, the network in floating point, does."""

FEW_IMAGES, FEWER_IMAGES = 16, 2
FEW_STEPS, A_LAYER = 4, 0.1
"""Logits in a runtime differ by so many steps of 8 bits at most, and by so many more a layer: ties,
and sums that LiteRT rounds twice, add up (10 steps in a trained ResNet-56 of 85 layers)."""


@dataclass(frozen=True)
class Int8Format:
    """kinds: of layers that it has operators for, beside convolutions. save: writes a file. run:
    the logits of a file in the runtime that it is for, of images (batch, channels, height, width).
    check: raises ConversionError that names a layer that the runtime computes otherwise.
    """

    name: str
    kinds: Collection[str]
    save: Callable[[Quantised, Path, PlanFile], None]
    run: Callable[[Path, Tensor], Tensor]
    check: Callable[[Quantised, Path, Tensor], None] = lambda *_: None


@dataclass(frozen=True)
class Exported:
    """difference: of logits between the runtime and the reference, at most, in steps of 8 bits.
    agreement: the share of ``images`` that get the class that they get in float32; untuned: before
    it was fine-tuned, if it was; is_tuned: whether that brought it nearer, or was left out.
    """

    difference: float
    agreement: float
    images: int
    untuned: float | None = None
    is_tuned: bool = False


def export_int8(  # noqa: PLR0913  what is written, and one that may be left out
    network: nn.Module,
    path: str | Path,
    plan: PlanFile,
    batches: Sequence[Tensor],
    form: Int8Format,
    *,
    tune: Tune | None = None,
) -> Exported:
    """Write a network shared by ``plan`` in 8 bits, the whole file or nothing.

    batches: images as the network takes them, from which the ranges of activations are taken.
    tune: trains the network in 8 bits before it is written. Raises ConversionError where a layer
    cannot be converted or the runtime computes something else than the reference.
    """
    check_numbers(network)
    check_images(batches)
    trained = copy_network(network).eval()
    wanted = torch.cat([computed(trained, batch) for batch in batches])
    graph = traced(deployed(network, plan.plan), batches[0][:1])
    _check_kinds(graph, form)
    made = quantised(graph, batches)
    untuned, rounded = None, made
    if tune is not None:
        with tempfile.TemporaryDirectory() as folder:  # what it refuses, it refuses now
            form.save(made, Path(folder) / "net", plan)
        _check_logits(graph)
        untuned = _agreement(wanted, _logits(rounded, batches))
        made = _tuned(rounded, trained, wanted, batches, tune)
    with atomic_write(path) as half:
        form.save(made, half, plan)
        form.check(made, half, batches[0][:FEWER_IMAGES])
        expected = made.outputs(batches[0][:FEW_IMAGES])
        found = torch.cat([form.run(half, batch) for batch in batches])
        found = found.reshape(-1, *expected.shape[1:])
        step = made.steps[made.graph.output].scale
        difference = float((found[: len(expected)] - expected).abs().max()) / step
        if not difference <= FEW_STEPS + A_LAYER * len(made.graph.layers):
            raise ConversionError(
                f"the {form.name} file computes something else than its reference (logits differ "
                f"by {difference:.0f} steps of 8 bits), so it is not written"
            )
    agreement = _agreement(wanted, found)
    return Exported(difference, agreement, len(wanted), untuned, made is not rounded)


def _check_logits(graph: SmallGraph) -> None:
    """Raise ConversionError where there are no classes to answer with."""
    if len(shape := graph.shapes[graph.output]) != 2:
        raise ConversionError(
            f"8 bits are fine-tuned on logits (batch, classes), and this network returns {shape} "
            "for one image: leave the fine-tuning out"
        )


def _tuned(
    rounded: Quantised, trained: nn.Module, wanted: Tensor, batches: Sequence[Tensor], tune: Tune
) -> Quantised:
    """What ``tune`` makes of it, where that is nearer to the logits that are wanted."""
    student = FakeQuantised(rounded)
    tune(student, trained)
    with torch.no_grad():
        learnt = student.quantised()
        before, after = (
            float((_logits(one, batches) - wanted).norm()) for one in (rounded, learnt)
        )
    return learnt if after < before else rounded


def _logits(made: Quantised, batches: Sequence[Tensor]) -> Tensor:
    return torch.cat([made.outputs(batch) for batch in batches])


def _agreement(wanted: Tensor, found: Tensor) -> float:
    return float((wanted.argmax(1) == found.argmax(1)).float().mean())


def _check_kinds(graph: SmallGraph, form: Int8Format) -> None:
    """Raise ConversionError that names the layers that have no integer operator here."""
    known = {CONVOLUTION, REQUANTISED, *form.kinds}
    unknown = [layer for layer in graph.layers if layer.kind not in known]
    if unknown:
        named = ", ".join(f"{one.where or 'the network itself'} ({one.kind})" for one in unknown)
        raise ConversionError(
            f"these layers cannot be converted to {form.name} of 8 bits: {named}; express them in "
            "other layers, such as relu, or export as onnx"
        )
