"""Networks in 8 bits that are fine-tuned: nearer to float32, and files say what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan, apply_plan
from isoshare.evaluators.training.quantisation_aware import answer_alike
from isoshare.search.workflows.exporting.calibration import as_images
from isoshare.space.exports.fake_quantised import FakeQuantised
from isoshare.space.exports.int8 import Int8Format, export_int8
from isoshare.space.exports.quantised import Quantised, quantised, with_steps
from isoshare.space.exports.tracing import traced
from isoshare.space.plan import PlanFile
from tests.fakes import Command
from tests.int8_files import FORMATS, NOTHING

PLAN = SharingPlan((Bank("kernel", {}, ("3", "6")),))


def images(count: int, seed: int = 1) -> Tensor:
    """Noise around a colour."""
    chance = torch.Generator().manual_seed(seed)
    noise = 0.5 * torch.randn(count, 3, 8, 8, generator=chance)
    return noise + torch.randn(count, 3, 1, 1, generator=chance)


def wide_ranging() -> nn.Module:
    """Its last features differ in range a hundred times, and all count alike; one kernel is shared.

    One scale for all of them leaves next to nothing of the small ones.
    """
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for before, after in ((3, 8), (8, 8), (8, 8)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        parts += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    network: Any = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    network = apply_plan(network, PLAN)
    spread = torch.logspace(0, -2, 8)
    with torch.no_grad():
        network.train()(images(64))
        network[7].weight.copy_(spread)
        network[7].bias.copy_(0.3 * spread * torch.randn(8))
        network[11].weight.div_(spread)
    made: nn.Module = network.eval()
    return made


def off(found: Callable[[Tensor], Tensor], network: nn.Module, seed: int) -> float:
    """How far logits are from those of float32, in parts of what these vary by."""
    with torch.no_grad():
        wanted = network(images(256, seed))
        return float((found(images(256, seed)) - wanted).norm() / (wanted - wanted.mean(0)).norm())


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_fine_tuning_brings_8_bits_nearer_to_float32(tmp_path: Path, form: Int8Format) -> None:
    network, fitted, learnt = wide_ranging(), images(64), []

    def tune(student: FakeQuantised, teacher: nn.Module) -> None:
        answer_alike(student, teacher, as_images([images(2048, 2)]), epochs=3)
        learnt.append(student)

    rounded = quantised(traced(network, fitted[:1]), [fitted])
    untuned = off(rounded.outputs, network, 3)
    path = tmp_path / "net"
    plain = export_int8(network, path, PlanFile.of(PLAN), [fitted], form)
    done = export_int8(network, path, PlanFile.of(PLAN), [fitted], form, tune=tune)
    (student,) = learnt
    made: Quantised = student.quantised()
    assert untuned > 0.3
    assert off(lambda some: form.run(path, some), network, 3) < 0.6 * untuned
    assert plain.untuned is None
    assert done.is_tuned
    assert done.untuned is not None
    assert done.agreement >= done.untuned
    with torch.no_grad():
        step = made.steps[made.graph.output].scale
        steps = (form.run(path, fitted) - student(fitted)).abs() / step
    assert (steps < 1.001).float().mean() > 0.9
    assert steps.max() < 4.001, "a rounding more at each of the layers, which processors differ in"
    assert len(made.graph.shared) == 1


def test_fine_tuning_that_brings_nothing_is_left_out(tmp_path: Path) -> None:
    network, fitted, path = wide_ranging(), images(64), tmp_path / "net"

    def spoil(student: FakeQuantised, _: nn.Module) -> None:
        with torch.no_grad():
            student.kernels[0].zero_()

    export_int8(network, path, PlanFile.of(PLAN), [fitted], FORMATS[0])
    plain = path.read_bytes()
    done = export_int8(network, path, PlanFile.of(PLAN), [fitted], FORMATS[0], tune=spoil)
    assert path.read_bytes() == plain
    assert not done.is_tuned
    assert done.untuned == done.agreement


def test_a_shared_kernel_is_rounded_once_and_learns_from_all_its_uses() -> None:
    network, fitted = wide_ranging(), images(16)
    made = quantised(traced(network, fitted[:1]), [fitted])
    (shared,) = made.graph.shared
    graph, kernels = made.graph, dict(made.graph.kernels)
    layers = []
    for layer in graph.layers:
        if layer.kernel == shared:
            kernels[layer.output] = kernels[shared]
            layers.append(replace(layer, kernel=layer.output))
        else:
            layers.append(layer)
    del kernels[shared]
    apart = with_steps(replace(graph, layers=tuple(layers), kernels=kernels), made.steps)
    logits, whole = learnt_by(made, fitted)
    same, parts = learnt_by(apart, fitted)
    assert torch.equal(logits, same)
    step = made.steps[graph.output].scale
    assert (logits - made.outputs(fitted)).abs().max() <= 1.001 * step
    assert all(gradient.abs().sum() > 0 for gradient in whole.values())
    uses = [layer.output for layer in graph.layers if layer.kernel == shared]
    together = parts[uses[0]] + parts[uses[1]]
    assert torch.allclose(together, whole[shared], rtol=1e-3, atol=1e-5)


def learnt_by(made: Quantised, fitted: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of each kernel by its name."""
    student = FakeQuantised(made)
    logits = student(fitted)
    logits.square().mean().backward()
    found = dict(zip(made.graph.kernels, student.kernels, strict=True))
    return logits.detach(), {name: one.grad for name, one in found.items() if one.grad is not None}


def test_export_fine_tunes_and_says_so(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"depth": 8, "width": 2, "classes": 10, "in_channels": 1}
    backbone = {"name": "resnet_cifar", "arguments": arguments}
    PlanFile.model_validate({**NOTHING.model_dump(by_alias=True), "backbone": backbone}).save(
        "p.json"
    )
    asked = ("--dataset", "digits", "--resolution", 6)  # stands in the file
    assert command("train", "p.json", "--epochs", 1, *asked, "-o", "m.safetensors")[0] == 0
    for name in ("onnx-int8", "tflite"):
        given = ("export", "m.safetensors", "--format", name, "-o")
        assert command(*given, "plain")[0] == 0
        code, out, err = command(*given, "tuned", "--int8-epochs", 2)
        assert code == 0
        plain, tuned = Path("plain").read_bytes(), Path("tuned").read_bytes()
        assert len(plain) == len(tuned)
        assert ("before the fine-tuning)" in out) == (plain != tuned)
        assert ("brought it no nearer to float32" in out) == (plain == tuned)
        assert "epoch 2/2" in err
    wrong = ("export", "m.safetensors", "--format", "onnx", "--int8-epochs", 2, "-o", "x.onnx")
    code, _, err = command(*wrong)
    assert code == 2
    assert "--int8-epochs is for onnx-int8 and tflite, not for onnx: leave it out" in err
    assert not Path("x.onnx").exists()
