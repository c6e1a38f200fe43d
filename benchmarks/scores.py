"""What does a score of a plan cost? Milliseconds, on one thread.

    python benchmarks/scores.py [--depth 20] [--width 16] [--plans 20]

Random plans of all methods for a CIFAR ResNet on digits, a batch of 64 images; median and largest
CPU time. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.zero_cost import SCORES, Known, score
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.training.batches import Batches, normalised, use_threads
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites


def milliseconds(name: str, plans: list[SharingPlan], known: Known) -> dict[str, float]:
    """Of CPU time, after one that warms up."""
    score(name, plans[0], known)
    spent = []
    for plan in plans:
        started = time.process_time()
        score(name, plan, known)
        spent.append(1000 * (time.process_time() - started))
    return {"median": round(median(spent), 1), "largest": round(max(spent), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--plans", type=int, default=20)
    options = parser.parse_args()
    use_threads(1)
    torch.manual_seed(0)
    arguments = {"depth": options.depth, "width": options.width, "in_channels": 1}
    backbone, trained = (build_backbone("resnet_cifar", arguments) for _ in range(2))
    part = load_dataset("digits", 0.2).train
    data = normalised(part, part)
    batch = Batches(data.images[:64], data.labels[:64], data.mean, data.deviation)
    known = Known(backbone, batch, trained.eval())  # what its weights are does not change the time
    space = SearchSpace(find_sites(backbone), count_parameters(backbone), tuple(METHODS))
    rng = random.Random(0)
    plans = [space.random_plan(rng) for _ in range(options.plans)]
    found = {
        name: milliseconds(name, plans, known)
        for name in track(SCORES, "scores", console=Console(stderr=True))
    }
    print(json.dumps({"options": vars(options), "CPU milliseconds a plan": found}, indent=2))


if __name__ == "__main__":
    main()
