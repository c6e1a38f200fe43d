"""The trainer: what it computes, how it stops and goes on, what it does when memory is short."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.training import checkpoints
from isoshare.evaluators.training import gradient_accumulation as memory
from isoshare.evaluators.training import vmap_ensemble as stacking
from isoshare.evaluators.training.batches import Batches, normalised
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.distillation import DistilledTraining, Teacher
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings, optimizer_of
from isoshare.evaluators.training.scoring import accuracy, accuracy_and_loss
from isoshare.evaluators.training.trainer import TrainingRun, train
from isoshare.evaluators.training.vmap_ensemble import Stack, computes_bfloat16
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan

ROOT = Path(__file__).parent.parent
SHORT = TrainingSettings(epochs=3, batch_size=16, learning_rate=0.05)


class Net(nn.Module):
    """Convolution, batch normalisation, dropout and a head: all that a training must keep."""

    def __init__(self, seed: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, height, width)."""
        x = functional.relu(self.bn(self.conv(x))).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(x))
        return logits


def pictures(count: int = 96, augmentation: Augmentation | None = None) -> Batches:
    """Random images that get brighter from class to class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    noise = torch.randint(0, 120, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images = noise + (labels * 40).to(torch.uint8)[:, None, None, None]
    return Batches(images, labels, 128.0, 64.0, augmentation or Augmentation(crop=1, flip=True))


def weights(network: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def trained(
    settings: TrainingSettings = SHORT, data: Batches | None = None, **options: Any
) -> list[Tensor]:
    network = Net()
    train([network], data or pictures(), settings, [3], **options)
    return weights(network)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_repeats_bit_for_bit_whatever_the_caller_drew_before(precision: Any) -> None:
    settings = replace(SHORT, precision=precision)
    first = trained(settings)
    torch.rand(7)
    assert equal(first, trained(settings))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_training_moves_as_torch_says_and_does_not_import_its_compiler(
    kind: Literal["sgd", "adamw"], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, torchs = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    settings = TrainingSettings(1, 16, 0.05, kind)
    known: torch.optim.Optimizer
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torch._dynamo", None)  # what imports it now fails
        optimizer = optimizer_of([ours], settings)
        _steps(optimizer, ours)
        optimizer.load_state_dict(optimizer.state_dict())
    if kind == "sgd":
        known = torch.optim.SGD([torchs], 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    else:
        known = torch.optim.AdamW([torchs], 0.05, betas=(0.9, 0.95), weight_decay=0.01)
    _steps(known, torchs)
    torch.testing.assert_close(ours, torchs)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    with pytest.raises(ImportError):
        known.step()


def _steps(optimizer: torch.optim.Optimizer, tensor: nn.Parameter) -> None:
    """Five, down a bowl."""
    for _ in range(5):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(tensor.square().sum())
        optimizer.step()


def test_digits_are_what_they_were_before_images_stayed_bytes() -> None:
    """Batches as they were: all images as floats, scaled at once, nothing augmented."""
    part = load_dataset("digits", 0.5).train
    pixels = torch.from_numpy(part.images).float()
    floats = (pixels - pixels.mean(dim=(0, 2, 3), keepdim=True)) / pixels.std(
        dim=(0, 2, 3), keepdim=True
    )
    data = normalised(part, part, load_dataset("digits", 0.5).augmentation)
    assert data.images.dtype == torch.uint8
    assert data.images.data_ptr() == part.images.ctypes.data, "no copy"
    assert torch.equal(data.normalised(data.images), floats)
    index = torch.tensor([[5, 2], [0, 9]])
    generators = [torch.Generator() for _ in range(2)]
    assert torch.equal(data.normalised(data.augmented(index, generators)), floats[index])


def test_images_are_augmented_in_training_and_never_when_measuring() -> None:
    seen: list[Tensor] = []

    class Spy(Augmentation):
        def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
            seen.append(images)
            return super().__call__(images, generators)

    data = pictures(augmentation=Spy(crop=2, flip=True))
    network = Net()
    forward = train([network], data, replace(SHORT, epochs=2), [0])
    assert len(seen) == 2 * 96 // 16
    assert accuracy(forward, 1, data) == accuracy(
        forward, 1, replace(data, augmentation=Augmentation())
    )
    assert len(seen) == 12
    assert not equal(trained(), trained(data=pictures(augmentation=Augmentation())))


def test_the_evaluator_augments_as_its_settings_say(tmp_path: Path) -> None:
    dataset = replace(load_dataset("digits", 0.5), augmentation=Augmentation(crop=1))
    for augment, expected in (("standard", Augmentation(crop=1)), ("none", Augmentation())):
        settings = replace(SHORT, augment=augment)  # type: ignore[arg-type]
        evaluator = TrainingEvaluator("resnet_cifar", {}, dataset, settings)
        assert evaluator.train_batches.augmentation == expected
        assert evaluator.held_out["test"].augmentation == Augmentation()


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    """The reported loss of one batch, by the formula."""
    data = pictures(16, Augmentation())
    network = Net(dropout=0)
    with torch.no_grad():
        log = functional.log_softmax(network.train()(data.normalised(data.images)), dim=1)
    target = 0.7 * functional.one_hot(data.labels, 4) + 0.3 / 4
    heard: list[float] = []
    settings = replace(SHORT, epochs=1, label_smoothing=0.3)
    train([Net(dropout=0)], data, settings, [0], report=lambda *said: heard.append(said[2]["loss"]))
    assert heard == [pytest.approx(-(target * log).sum(dim=1).mean().item(), rel=1e-5)]


def test_each_epoch_is_reported_and_a_stop_ends_the_training_there() -> None:
    heard: list[tuple[int, int]] = []

    def report(epoch: int, epochs: int, values: Mapping[str, float]) -> bool:
        heard.append((epoch, epochs))
        assert values["loss"] > 0
        return epoch == 2

    stopped = trained(replace(SHORT, epochs=5), report=report)
    assert heard == [(1, 5), (2, 5)]
    assert not equal(stopped, trained(replace(SHORT, epochs=5)))


@pytest.mark.parametrize(
    ("optimizer", "seeds"), [("sgd", [3]), ("adamw", [3]), ("sgd", [3, 4])], ids=str
)
def test_what_was_stopped_goes_on_to_the_same_bits(
    optimizer: Any, seeds: list[int], tmp_path: Path
) -> None:
    """With dropout and augmentation, alone and side by side, with either optimizer."""
    settings, path, data = replace(SHORT, optimizer=optimizer), tmp_path / "state.pt", pictures()

    def logits(**options: Any) -> Tensor:
        forward = train([Net(seed) for seed in seeds], data, settings, seeds, **options)
        return forward(data.normalised(data.images).expand(len(seeds), -1, -1, -1, -1))

    logits(report=lambda epoch, *_: epoch == 2, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]
    heard: list[int] = []
    resumed = logits(report=lambda epoch, *_: heard.append(epoch), checkpoint=path)
    assert heard == [3]
    assert torch.equal(resumed, logits())


def test_bfloat16_on_request_trains_seeds_one_by_one(evaluator: TrainingEvaluator) -> None:
    asked = replace(evaluator, settings=replace(evaluator.settings, epochs=1, precision="bfloat16"))
    assert [len(some) for some in asked(SharingPlan(), (0, 1), "validation")] == [1, 1]


KILLED = """
import sys, time
from pathlib import Path
from isoshare.evaluators.training import checkpoints
from isoshare.evaluators.training import trainer as training
from isoshare.evaluators.training.batches import use_threads
from tests.test_trainer import Net, pictures, SHORT, replace

use_threads(1)  # as here: sums over two threads round differently
checkpoints.SECONDS_BETWEEN = 0
path = Path(sys.argv[1])
data = pictures()
steps = 0

class Slow(Net):
    def forward(self, x):
        global steps
        steps += 1
        if steps == 2 * 6 + 3:  # in the middle of the third epoch
            path.with_name("in-the-middle").touch()
            time.sleep(60)
        return super().forward(x)

training.train([Slow()], data, replace(SHORT, epochs=4), [3], checkpoint=path)
"""


def test_a_training_killed_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.pt"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    deadline = time.monotonic() + 500
    while not (tmp_path / "in-the-middle").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Checkpoint(path).load() is not None
    heard: list[int] = []
    settings = replace(SHORT, epochs=4)
    resumed = trained(settings, report=lambda epoch, *_: heard.append(epoch), checkpoint=path)
    assert heard == [3, 4]
    assert equal(resumed, trained(settings))


def test_a_short_training_keeps_its_end_alone_and_a_broken_checkpoint_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 3600)  # short, on any machine
    saved: list[int] = []
    save = Checkpoint.save

    def watched(self: Checkpoint, state: dict[str, Any]) -> None:
        saved.append(state["epoch"])
        save(self, state)

    monkeypatch.setattr(Checkpoint, "save", watched)
    path = tmp_path / "new" / "state.pt"
    expected = trained()
    assert equal(trained(checkpoint=path), expected)
    assert saved == [SHORT.epochs] * 2, "the end of each, though the first has no file"
    path.write_bytes(b"no checkpoint")
    assert equal(trained(checkpoint=path), expected)


def test_a_checkpoint_that_cannot_be_written_does_not_fail_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    (tmp_path / "file").touch()
    assert equal(trained(checkpoint=tmp_path / "file" / "state.pt"), trained())


@pytest.fixture
def evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingEvaluator]:
    """One that writes a checkpoint after each epoch."""
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    folder = checkpoint_folder("a/study")
    assert folder is not None
    assert folder.name == "a-study"
    arguments = {"depth": 8, "width": 2, "classes": 10, "in_channels": 1}
    settings = TrainingSettings(epochs=2, batch_size=64, learning_rate=0.05)
    yield TrainingEvaluator(
        "resnet_cifar", arguments, load_dataset("digits", 0.5), settings, folder
    )
    assert not folder.exists(), "nothing is left behind"


def test_a_checkpoint_is_there_until_its_measurement_is_taken(evaluator: TrainingEvaluator) -> None:
    folder = evaluator.checkpoints
    assert folder is not None
    steps = evaluator(SharingPlan(), (0, 1), "validation")
    next(steps)
    (file,) = folder.iterdir()
    assert file.name.startswith(SharingPlan().fingerprint)
    assert list(steps) == []
    assert not folder.exists()
    steps = evaluator(SharingPlan(), (0,), "validation")
    next(steps)
    del steps  # what a driver does that has all it wants


def test_an_evaluation_that_is_left_at_a_rung_goes_on_and_a_failed_one_leaves_nothing(
    evaluator: TrainingEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = replace(evaluator, settings=replace(evaluator.settings, epochs=3))
    ((whole,),) = evaluator(SharingPlan(), (0,), "validation")
    steps = evaluator(SharingPlan(), (0,), "validation", (1, 2))
    first = next(steps)[0]
    steps.close()  # type: ignore[attr-defined]
    assert evaluator.checkpoints is not None
    assert len(list(evaluator.checkpoints.iterdir())) == 1
    again, second, last = (one for (one,) in evaluator(SharingPlan(), (0,), "validation", (1, 2)))
    assert [first.epochs, again.epochs, second.epochs, last.epochs] == [1, 1, 2, None]
    assert (first.values, last.values) == (again.values, whole.values)
    next(steps := evaluator(SharingPlan(), (0,), "validation", (1,)))
    monkeypatch.setattr(TrainingRun, "_run_epoch", lambda _: math.nan)
    with pytest.raises(EvaluationError, match="the loss became nan in epoch 2"):
        next(steps)


def test_rungs_are_measured_for_all_seeds_at_once_or_seed_by_seed(
    evaluator: TrainingEvaluator,
) -> None:
    steps = list(evaluator(SharingPlan(), (3, 4), "validation", (1,)))
    assert [[(one.seed, one.epochs) for one in step] for step in steps] == [
        [(3, 1), (4, 1)],
        [(3, None), (4, None)],
    ]
    single = replace(evaluator, settings=replace(evaluator.settings, precision="bfloat16"))
    steps = list(single(SharingPlan(), (3, 4), "validation", (1,)))
    assert [(one.seed, one.epochs) for (one,) in steps] == [(3, 1), (3, None), (4, 1), (4, None)]


class Full:
    """Networks that have no room for more than so many images at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
        self.most, self.sizes = most, list[int]()
        forward = Stack.__call__

        def call(stack: Stack, images: Tensor) -> tuple[Tensor, ...]:
            self.sizes.append(images.shape[1])
            if images.shape[1] > self.most:
                raise error
            return forward(stack, images)

        monkeypatch.setattr(Stack, "__call__", call)


CPU_ERROR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), CPU_ERROR])
def test_a_batch_that_does_not_fit_is_computed_in_pieces(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch normalisation and dropout: the same network up to rounding."""

    def network() -> nn.Module:
        net = Net(dropout=0)
        net.bn = nn.Identity()  # type: ignore[assignment]
        return net

    settings = replace(SHORT, batch_size=32, epochs=1)
    whole = network()
    train([whole], pictures(), settings, [0])
    full = Full(monkeypatch, 8, error)
    pieces = network()
    forward = train([pieces], pictures(), settings, [0])
    assert full.sizes == [32, 16, *[8] * 12]
    for a, b in zip(weights(whole), weights(pieces), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    full.most = 60
    assert accuracy(forward, 1, pictures()) == accuracy(forward, 1, pictures(), batch_size=48)


def test_too_little_memory_for_a_few_images_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Full(monkeypatch, 4, CPU_ERROR)
    with pytest.raises(EvaluationError, match="out of memory even with 8 images at a time: take"):
        trained()


def test_real_memory_runs_out_and_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert memory.is_out_of_memory(error.value)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train([nn.Sequential(nn.Flatten(), nn.Linear(5, 4))], pictures(), SHORT, [0])


def test_a_loss_that_is_no_number_names_its_epoch() -> None:
    with pytest.raises(EvaluationError, match="the loss became nan in epoch 1"):
        trained(replace(SHORT, learning_rate=1e30))


def test_small_networks_compute_in_float32_and_large_ones_as_the_device_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build_backbone("resnet_cifar", {"depth": 8, "width": 4})
    for has in (True, False):
        monkeypatch.setattr(stacking, "computes_bfloat16", lambda _, has=has: has)
        assert not Stack([network], "auto", small=True).bfloat16
        assert Stack([network], "auto", small=False).bfloat16 == has
        assert Stack([network], "bfloat16", small=False).bfloat16
        assert not Stack([network], "float32", small=False).bfloat16
        assert not Stack([network, network], "bfloat16", small=True).bfloat16
    images = torch.zeros(1, 3, 32, 32)
    assert stacking.worth_stacking(network, images, 16)
    assert not stacking.worth_stacking(network, images, 256)
    assert isinstance(computes_bfloat16(torch.device("cpu")), bool)


def test_bfloat16_and_channels_last_compute_the_same_function_and_keep_weights_in_float32() -> None:
    images = torch.randn(1, 16, 3, 16, 16)
    network = build_backbone("resnet_cifar", {"depth": 8, "width": 8})
    exact = Stack([network], "float32", small=True)
    exact.train(False)
    expected, _ = exact(images)
    for precision, tolerance in (("float32", 1e-5), ("bfloat16", 0.05)):
        stack = Stack([network], precision, small=False)  # type: ignore[arg-type]
        found, _ = stack(images)
        assert found.dtype == torch.float32
        assert torch.allclose(found, expected, atol=tolerance * expected.abs().max().item())
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}


def test_a_distilled_training_learns_labels_and_answers() -> None:
    """By hand: w T² KL(teacher || student) + (1 - w) CE; alike networks differ by nothing."""
    images = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    data = Batches(images, torch.arange(16) % 4)
    student, teacher = Net(0, dropout=0.0), Net(1, dropout=0.0).eval()

    def loss(temperature: float, weight: float, teaches: nn.Module = teacher) -> float:
        of = Teacher(teaches, temperature, weight)
        training = DistilledTraining([student.eval()], data, SHORT, [0], teacher=of)
        return training.loss_of(images[None], data.labels[None]).item()

    with torch.no_grad():
        wanted, found = teacher(images), student.eval()(images)
    plain = float(functional.cross_entropy(found, data.labels))
    softened = functional.softmax(wanted / 2, -1)
    distance = (softened * (softened.log() - functional.log_softmax(found / 2, -1))).sum(-1).mean()
    assert loss(2.0, 0.25) == pytest.approx(0.75 * plain + 0.25 * 4 * float(distance), rel=1e-4)
    assert loss(2.0, 1.0, student) == pytest.approx(0, abs=1e-5)
    before = [tensor.clone() for tensor in teacher.state_dict().values()]
    student.train()
    training = DistilledTraining([student], data, SHORT, [0], teacher=Teacher(teacher))
    assert math.isfinite([*training.run(Checkpoint(None))][-1].loss)
    assert all(map(torch.equal, before, teacher.state_dict().values()))
    measured = accuracy_and_loss(lambda x: found[None], data)
    assert measured["loss"] == pytest.approx(plain, rel=1e-5)
    assert measured["accuracy"] == pytest.approx(accuracy(lambda x: found[None], 1, data)[0])
