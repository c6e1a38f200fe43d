"""How far is a spiking network from the ANN that it shares its weights with, and from a usual one?

    python benchmarks/spiking.py --dataset folder:PATH --resolution 16 --subset 8000

For each seed: a training by proxy, then the test accuracy of the spiking network and of its proxy,
the ANN of the same parameters; and that of the same network trained as ANN, by short training with
its default settings, for as many epochs. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.spiking import score, train_by_proxy
from isoshare.evaluators.spiking_network import SpikingTwin
from isoshare.evaluators.training.batches import Batches, normalised, use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.plan import SharingPlan

TABLE = ("spiking network", "its ANN, same weights", "ANN by short training")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--subset", type=int)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--time-steps", type=int, default=15)
    parser.add_argument("--target-spikes", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    load(options)  # made once, then mapped by every process
    with ProcessPoolExecutor(options.processes, initializer=use_threads, initargs=(1,)) as pool:
        done = pool.map(partial(measure, options), range(options.seeds))
        console = Console(stderr=True)
        rows = list(track(done, "seeds", total=options.seeds, console=console))
    print(json.dumps(report(options, rows), indent=2))


def load(options: argparse.Namespace) -> Dataset:
    """A tenth of the training images is left out, as in a search."""
    given = DataOptions(subset=options.subset, resolution=options.resolution)
    return load_dataset(options.dataset, 0.1, given)


def measure(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """The three test accuracies of one seed, spikes an image, and seconds."""
    dataset = load(options)
    train, test = (normalised(part, dataset.train) for part in (dataset.train, dataset.test))
    started = time.perf_counter()
    arguments = backbone_arguments(options, dataset)
    torch.manual_seed(seed)
    network = build_backbone("resnet_cifar", arguments)
    twin = SpikingTwin(network, options.time_steps, options.target_spikes)
    train_by_proxy(network, twin, train, settings(options), seed)
    seconds = time.perf_counter() - started
    spiking = score(twin, test)
    usual = TrainingEvaluator(
        "resnet_cifar", arguments, dataset, TrainingSettings(options.epochs, 64, 0.1)
    )
    ((measured,),) = usual(SharingPlan(), (seed,), "test")
    accuracies = (spiking["accuracy"], correct(network, test), measured.values["accuracy"])
    return {
        **dict(zip(TABLE, accuracies, strict=True)),
        "spikes": spiking["spikes"],
        "seconds of training by proxy": seconds,
    }


def settings(options: argparse.Namespace) -> TrainingSettings:
    """The defaults of ``--evaluator spiking``."""
    defaults = EVALUATORS["spiking"].defaults
    rate = options.learning_rate or defaults["learning_rate"]
    return TrainingSettings(options.epochs, 64, rate, defaults["optimizer"])


def backbone_arguments(options: argparse.Namespace, dataset: Dataset) -> dict[str, Argument]:
    """Of the ResNet."""
    return {
        "depth": options.depth,
        "width": options.width,
        "classes": dataset.classes,
        "in_channels": dataset.in_channels,
    }


@torch.no_grad()
def correct(network: torch.nn.Module, test: Batches) -> float:
    """The accuracy of the ANN."""
    pairs = zip(torch.split(test.images, 500), torch.split(test.labels, 500), strict=True)
    hits = [(network(images).argmax(-1) == labels).float() for images, labels in pairs]
    return torch.cat(hits).mean().item()


def report(options: argparse.Namespace, rows: list[dict[str, float]]) -> dict[str, Any]:
    """Means and standard deviations over the seeds, with the conditions."""
    dataset = load(options)
    gap = [100 * (row[TABLE[0]] - row[TABLE[1]]) for row in rows]
    names = [*rows[0]]
    return {
        "options": vars(options),
        "settings": vars(settings(options)),
        "training images": len(dataset.train.labels),
        "test images": len(dataset.test.labels),
        "parameters": count_parameters(
            build_backbone("resnet_cifar", backbone_arguments(options, dataset))
        ),
        "mean": {name: round(fmean(row[name] for row in rows), 4) for name in names},
        "standard deviation": {
            name: round(stdev(row[name] for row in rows), 4) for name in names if len(rows) > 1
        },
        "points of the spiking network above its ANN": [round(points, 2) for points in gap],
        "seeds": [{name: round(row[name], 4) for name in names} for row in rows],
        "versions": {"python": platform.python_version(), "torch": version("torch")},
    }


if __name__ == "__main__":
    main()
