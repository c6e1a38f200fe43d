"""When is it worth training seeds side by side? Both ways in one run, on networks of growing size.

    python benchmarks/stacking.py [--seeds 8] [--rounds 3]

For each network: the time of a training of all seeds side by side divided by the time of the same
trainings one after another, on one thread, the median over the rounds. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.training import vmap_ensemble as stacking
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan

RULE = stacking.STACKABLE_WORK
CASES = [(width, batch) for batch in (32, 128) for width in (1, 2, 4, 8, 16)]


def seconds(evaluator: TrainingEvaluator, seeds: int, stacked: bool) -> float:
    """The time of one training of each seed."""
    stacking.STACKABLE_WORK = math.inf if stacked else 0
    started = time.perf_counter()
    for _ in evaluator(SharingPlan(), range(seeds), "validation"):
        pass
    return time.perf_counter() - started


def measure(width: int, batch: int, seeds: int, rounds: int) -> dict[str, object]:
    """Both ways in turn."""
    arguments = {"depth": 20, "width": width, "in_channels": 1}
    settings = TrainingSettings(epochs=1, batch_size=batch, learning_rate=0.05)
    evaluator = TrainingEvaluator("resnet_cifar", arguments, load_dataset("digits", 0.2), settings)
    pairs = [
        (seconds(evaluator, seeds, stacked=True), seconds(evaluator, seeds, stacked=False))
        for _ in range(rounds)
    ]
    work = count_parameters(build_backbone("resnet_cifar", arguments)) * 64 * batch
    return {
        "width": width,
        "batch": batch,
        "parameters x pixels x batch": work,
        "side by side": work <= RULE,
        "time side by side / one after another": round(median(a / b for a, b in pairs), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    use_threads(1)
    rows = [
        measure(width, batch, options.seeds, options.rounds)
        for width, batch in track(CASES, "both ways", console=Console(stderr=True))
    ]
    print(json.dumps({"options": vars(options), "cases": rows}, indent=2))


if __name__ == "__main__":
    main()
