"""Several plans of one backbone trained at once, beside one after another: plans an hour.

    python benchmarks/side_by_side.py [--dataset digits] [--plans 8] [--widths 2 4 8] [--rounds 3]

Random plans of kernel sharing and slice generators of a ResNet-20, one seed each, on the
accelerator where there is one, else on one thread, where CPU time is counted. Both ways in turn,
the median over the rounds. The accuracies of both are compared: they differ by what rounding makes
of a training. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.training.batches import device, use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites

METHODS = ("kernel", "slice_generator")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--subset", type=int)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--plans", type=int, default=8)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def evaluator_of(options: argparse.Namespace, width: int) -> TrainingEvaluator:
    """In float32, so that both ways compute the same."""
    wanted = DataOptions(subset=options.subset, resolution=options.resolution)
    data = load_dataset(options.dataset, 0.2, wanted)
    arguments = {"depth": 20, "width": width, "classes": data.classes}
    arguments["in_channels"] = data.in_channels
    settings = TrainingSettings(options.epochs, options.batch, 0.05, precision="float32")
    return TrainingEvaluator("resnet_cifar", arguments, data, settings)


def random_plans(evaluator: TrainingEvaluator, count: int) -> list[SharingPlan]:
    """Distinct ones."""
    backbone = build_backbone(evaluator.backbone, evaluator.arguments)
    space = SearchSpace(find_sites(backbone), count_parameters(backbone), METHODS)
    rng, found = random.Random(0), dict[SharingPlan, None]()
    while len(found) < count:
        found[space.random_plan(rng)] = None
    return list(found)


def one_after_another(evaluator: TrainingEvaluator, plans: list[SharingPlan]) -> list[float]:
    """Accuracies."""
    measured = [
        one for plan in plans for some in evaluator(plan, [0], "validation") for one in some
    ]
    return [one.values["accuracy"] for one in measured]


def side_by_side(evaluator: TrainingEvaluator, plans: list[SharingPlan]) -> list[float]:
    """Accuracies."""
    (found,) = evaluator.together(plans, [0], "validation")
    return [found[place][0].values["accuracy"] for place in range(len(plans))]


def measure(options: argparse.Namespace, width: int) -> dict[str, object]:
    """Both ways in turn."""
    evaluator = evaluator_of(options, width)
    plans = random_plans(evaluator, options.plans)
    ways: list[Callable[[TrainingEvaluator, list[SharingPlan]], list[float]]]
    ways = [one_after_another, side_by_side]
    times: list[list[float]] = [[], []]
    clock = time.process_time if device().type == "cpu" else time.perf_counter
    for turn in range(1 + options.rounds):
        found = []
        for way, spent in zip(ways, times, strict=True):
            started = clock()
            found.append(way(evaluator, plans))
            if turn:  # the first one warms up
                spent.append(clock() - started)
    hourly = [round(3600 * len(plans) / median(spent)) for spent in times]
    gains = [one / other for one, other in zip(*times, strict=True)]
    gaps = [abs(one - other) for one, other in zip(*found, strict=True)]
    return {
        "width": width,
        "plans an hour, one after another": hourly[0],
        "plans an hour, side by side": hourly[1],
        "gain": f"{median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})",
        "mean accuracy of both": [round(fmean(values), 4) for values in found],
        "largest difference of a plan": round(max(gaps), 4),
    }


def main() -> None:
    """Measure and print."""
    options = parse()
    use_threads(1)
    rows = [
        measure(options, width)
        for width in track(options.widths, "widths", console=Console(stderr=True))
    ]
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu, one thread"
    print(json.dumps({"options": vars(options), "device": name, "widths": rows}, indent=2))


if __name__ == "__main__":
    main()
