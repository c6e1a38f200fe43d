"""When do bfloat16 and channels that lie beside each other pay, and what do they cost?

    python benchmarks/precision.py [--threads 1] [--rounds 5] [--seconds 10]
        [--dataset folder:PATH --seeds 4 --epochs 4]

Speed: for CIFAR ResNets of depth 14, training steps in each way in turn; the CPU time (on an
accelerator the time) as it is divided by that in the other way, the median over the rounds. A case
ends after some seconds, but not before three rounds. Accuracy, with --dataset: the same seeds
trained in float32 and in bfloat16. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, median

import torch
from rich.console import Console
from rich.progress import track
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.training.batches import device, use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import train
from isoshare.evaluators.training.vmap_ensemble import (
    Precision,
    Stack,
    computes_bfloat16,
    worth_stacking,
)
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan

CASES = (  # width, pixels a side, batch; around the rule's border and far from it
    *((2, 8, 32), (16, 8, 128), (8, 16, 64), (8, 16, 256), (16, 16, 128), (8, 32, 64)),
    *((8, 32, 128), (16, 32, 64)),
)
LEAST = 3
"""Rounds."""
WAYS: dict[str, tuple[Precision, bool]] = {
    "as it is": ("float32", True),
    "channels last": ("float32", False),
    "bfloat16": ("bfloat16", True),
    "both": ("bfloat16", False),
}
INSTRUCTIONS = ("avx512_f", "avx512_bf16", "amx_bf16")
PIXELS_A_ROUND = 130_000


class Case:
    """One network in one way."""

    def __init__(
        self, width: int, side: int, batch: int, precision: Precision, small: bool
    ) -> None:
        torch.manual_seed(0)
        arguments = {"depth": 14, "width": width, "classes": 10, "in_channels": 3}
        self.network = build_backbone("resnet_cifar", arguments).to(device())
        self.images = torch.randn(1, batch, 3, side, side, device=device())
        self.labels = torch.randint(0, 10, (batch,), device=device())
        self.small = worth_stacking(self.network, self.images, batch)
        self.stack = Stack([self.network], precision, small=small)
        self.stack.train(True)
        self.optimizer = torch.optim.SGD(self.stack.parameters, 0.01, fused=True)
        self.steps = max(1, PIXELS_A_ROUND // (batch * side * side))

    def seconds(self) -> float:
        """The time of a round."""
        clock = time.process_time if device().type == "cpu" else time.perf_counter
        started = clock()
        for _ in range(self.steps):
            loss = functional.cross_entropy(self.stack(self.images)[0][0], self.labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        loss.item()
        return clock() - started


def speed(width: int, side: int, batch: int, rounds: int, seconds: float) -> dict[str, object]:
    """All ways in turn, for as many rounds as there is time for."""
    started = time.perf_counter()
    cases = {name: Case(width, side, batch, *way) for name, way in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(1 + rounds):
        if turn > LEAST and time.perf_counter() - started > seconds:
            break
        for name, case in cases.items():
            spent = case.seconds()
            if turn:  # the first one warms up
                times[name].append(spent)
    plain = times["as it is"]
    gains = {
        name: round(median(a / b for a, b in zip(plain, spent, strict=True)), 2)
        for name, spent in times.items()
        if spent is not plain
    }
    small = cases["as it is"].small
    shape = {"width": width, "pixels": side, "batch": batch, "small by the rule": small}
    return {**shape, **gains, "rounds": len(plain)}


def trained(evaluator: TrainingEvaluator, seeds: int) -> tuple[list[float], list[float]]:
    """Of each seed the accuracy, and the loss of the last epoch."""
    losses: list[float] = []

    def report(epoch: int, epochs: int, values: Mapping[str, float]) -> None:
        if epoch == epochs:
            losses.append(values["loss"])

    right = []
    for seed in range(seeds):
        network = evaluator.network(SharingPlan(), seed)
        batches, settings = evaluator.train_batches, evaluator.settings
        forward = train([network], batches, settings, [seed], report=report)
        right += accuracy(forward, 1, evaluator.held_out["validation"])
    return right, losses


def accuracies(dataset: str, seeds: int, epochs: int) -> dict[str, object]:
    """Each seed in both precisions; of each the accuracy and the last epoch's loss."""
    data = load_dataset(dataset, 0.2, DataOptions(subset=12_500))
    arguments = {"depth": 14, "width": 8, "classes": data.classes, "in_channels": 3}
    found: dict[str, object] = {"images": len(data.train), "width": 8, "epochs": epochs}
    for precision in ("float32", "bfloat16"):
        settings = TrainingSettings(epochs, 128, 0.2, precision=precision)
        evaluator = TrainingEvaluator("resnet_cifar", arguments, data, settings)
        values, losses = trained(evaluator, seeds)
        found[precision] = {
            "accuracy": [round(value, 4) for value in values],
            "mean accuracy": round(mean(values), 4),
            "mean loss": round(mean(losses), 4),
        }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", help="for the accuracies")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    use_threads(options.threads)
    rows = [
        speed(*case, options.rounds, options.seconds)
        for case in track(CASES, "speed", console=Console(stderr=True))
    ]
    report = {
        "options": vars(options),
        "device": str(device()),
        "bfloat16 in hardware": computes_bfloat16(device()),
        "instructions": [name for name in INSTRUCTIONS if torch.cpu.get_capabilities().get(name)],
        "speed": rows,
        "accuracy": accuracies(options.dataset, options.seeds, options.epochs)
        if options.dataset
        else None,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
