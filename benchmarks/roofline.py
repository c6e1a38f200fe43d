"""What bounds a training on one thread: the processor, its memory, or what is between the layers?

    python benchmarks/roofline.py [--depth 20] [--widths 8 16] [--pixels 32] [--batch 128]

Measured in turn, in CPU time, median of --rounds: the largest rate of bfloat16 operations that a
multiplication of square matrices reaches, the bytes a second that a copy moves, the convolutions of
a CIFAR ResNet alone, forward and backward, with the sizes that they have in training, and whole
steps of our trainer with augmentation and optimizer. Operations are two for each
multiply-accumulate of the convolutions, three times: forward, and backward for inputs and for
weights. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.training.batches import Batches, use_threads
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.trainer import TrainingRun
from isoshare.evaluators.training.vmap_ensemble import computes_bfloat16, worth_stacking
from isoshare.space.backbones import build_backbone

SQUARE, COPIED = 2048, 1 << 28
"""Rows of the matrices, and bytes of what is copied: more than caches hold."""
SECONDS = 0.5
"""At least, for each measurement."""
STEPS = 4
"""Of the trainer in a measured epoch."""
LISTED = 12
"""Operators."""


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--pixels", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def seconds_of(work: Callable[[], object]) -> float:
    """CPU time of one call, after one that warms up."""
    work()
    calls, started = 0, time.process_time()
    while (spent := time.process_time() - started) < SECONDS:
        work()
        calls += 1
    return spent / calls


def matrices() -> Callable[[], object]:
    """The multiplication of two square matrices."""
    one = torch.randn(SQUARE, SQUARE).bfloat16()
    return lambda: one @ one


def copying() -> Callable[[], object]:
    """A copy."""
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def convolutions(network: nn.Module, images: Tensor) -> tuple[Callable[[], object], int]:
    """All convolutions, forward and backward, each alone; and their multiply-accumulates."""
    seen: list[tuple[nn.Conv2d, tuple[int, ...], int]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        seen.append((layer, tuple(given[0].shape), output.numel()))

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()

    def ready(tensor: Tensor) -> Tensor:
        return tensor.bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()

    made = [
        (ready(torch.randn(shape)), ready(layer.weight.detach()), layer.stride, layer.padding)
        for layer, shape, _ in seen
    ]

    def work() -> None:
        for x, kernel, stride, padding in made:
            output = functional.conv2d(x, kernel, None, stride, padding)
            torch.autograd.grad(output, (x, kernel), output.detach())

    macs = sum(count * layer.weight[0].numel() for layer, _, count in seen)
    return work, macs


def training(network: nn.Module, options: argparse.Namespace) -> Callable[[], object]:
    """Steps of our trainer."""
    count = STEPS * options.batch
    shape = (count, 3, options.pixels, options.pixels)
    images, labels = torch.randint(256, shape, dtype=torch.uint8), torch.randint(10, (count,))
    data = Batches(images, labels, 127.0, 64.0, Augmentation(crop=4, flip=True))
    settings = TrainingSettings(10**6, options.batch, 0.01)
    assert not worth_stacking(network, images, options.batch), "small networks stay in float32"
    run = TrainingRun([network.train()], data, settings, [0])
    epochs = run.run(Checkpoint(None))
    next(epochs)
    return lambda: next(epochs)


def parts(work: Callable[[], object]) -> dict[str, float]:
    """The operators that take most of the time of some steps, with their share of it."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    spent = {one.key: one.self_cpu_time_total for one in seen.key_averages()}
    most = sorted(spent, key=spent.__getitem__, reverse=True)[:LISTED]
    return {name: round(spent[name] / sum(spent.values()), 3) for name in most}


def measure(options: argparse.Namespace, width: int) -> dict[str, object]:
    """One network, beside what the machine can do."""
    torch.manual_seed(0)
    network = build_backbone("resnet_cifar", {"depth": options.depth, "width": width})
    images = torch.randn(options.batch, 3, options.pixels, options.pixels)
    alone, macs = convolutions(network, images)
    ways = {
        "matrices": (matrices(), 2 * SQUARE**3),
        "copy": (copying(), 2 * COPIED),
        "convolutions alone": (alone, 6 * macs),
        "training": (training(network, options), 6 * macs * STEPS),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (work, amount) in ways.items():
            rates[name].append(amount / seconds_of(work) / 1e9)
    peak, moved, alone_rate, whole = (median(several) for several in rates.values())
    return {
        "width": width,
        "GFLOP/s, matrices in bfloat16": round(peak),
        "GB/s, copy": round(moved, 1),
        "GFLOP/s, convolutions alone": round(alone_rate, 1),
        "GFLOP/s, training": round(whole, 1),
        "images a second": round(whole * 1e9 / (6 * macs / options.batch)),
        "convolutions alone, share of matrices": round(alone_rate / peak, 3),
        "training, share of matrices": round(whole / peak, 3),
        "convolutions, share of the time of a step": round(whole / alone_rate, 3),
        "training, range over the rounds": [round(one, 1) for one in sorted(rates["training"])],
        "operators, share of the time of a step": parts(ways["training"][0]),
    }


def main() -> None:
    """Measure and print."""
    options = parse()
    use_threads(1)
    if not computes_bfloat16(torch.device("cpu")):
        sys.exit("this processor does not compute in bfloat16")
    rows = [
        measure(options, width)
        for width in track(options.widths, "widths", console=Console(stderr=True))
    ]
    print(json.dumps({"options": vars(options), "widths": rows}, indent=2))


if __name__ == "__main__":
    main()
