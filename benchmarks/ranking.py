"""Which cheap score orders plans as long training does?

    python benchmarks/ranking.py --dataset folder:PATH [--plans 60] [--long 24] [--workers 2]

Trains plans of a CIFAR ResNet on small images for long, with two seeds, and compares the order of
their validation accuracies with cheap scores: short trainings, the sum of training losses (Ru et
al. 2021, arXiv 2006.04492), inheritance with 0 and 1 epoch, zero-cost scores and the projection
error. Spearman's correlation, and the partial one with the number of parameters held fixed;
bootstrap intervals over the plans, also of what inheritance is better than the longest short
training. Every finished plan is kept in --out, and a second call goes on
from there. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import keep, kept
from benchmarks.zero_cost import SCORES, Known, score
from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.training.batches import Batches, use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy as right
from isoshare.evaluators.training.trainer import train
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites

BACKBONE = "resnet_cifar"
Scores = dict[str, float]
Correlation = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], float]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--subset", type=int, default=4000)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--depth", type=int, default=14)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--plans", type=int, default=60)
    parser.add_argument("--long", type=int, default=24)
    parser.add_argument("--short", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--pretrain", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("ranking.jsonl"))
    return parser.parse_args()


@cache
def dataset(name: str, subset: int, resolution: int) -> Dataset:
    """Half of the images are for validation: fewer could not tell plans apart."""
    return load_dataset(name, 0.5, DataOptions(subset, resolution, None, None))


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Of the backbone."""
    return {"depth": options.depth, "width": options.width}


def evaluator(
    options: argparse.Namespace, epochs: int, inherits: bool = False
) -> TrainingEvaluator:
    """Trains for so many epochs, from scratch or from the unshared network."""
    data = dataset(options.dataset, options.subset, options.resolution)
    settings = TrainingSettings(epochs, batch_size=64, learning_rate=0.1)
    if inherits:
        return InheritingEvaluator(
            *(BACKBONE, arguments(options), data, settings), pretrain_epochs=options.pretrain
        )
    return TrainingEvaluator(BACKBONE, arguments(options), data, settings)


def plans(options: argparse.Namespace) -> list[SharingPlan]:
    """Spread evenly over the logarithm of the parameters: from each of so many bins, one plan."""
    backbone = build_backbone(BACKBONE, arguments(options))
    space = SearchSpace(find_sites(backbone), count_parameters(backbone), tuple(METHODS))
    rng = random.Random(0)
    drawn = list({space.random_plan(rng) for _ in range(4000)})
    sizes = np.log([space.trainable_parameters(plan) for plan in drawn])
    wanted = np.linspace(sizes.min(), sizes.max(), options.plans)
    chosen: list[SharingPlan] = []
    for target in wanted:
        order = np.argsort(np.abs(sizes - target), kind="stable")
        chosen.append(next(drawn[place] for place in order if drawn[place] not in chosen))
    return chosen


def measure(job: tuple[argparse.Namespace, int, SharingPlan]) -> dict[str, Any]:
    """All scores of one plan."""
    options, number, plan = job
    use_threads(1)
    scores: Scores = {}
    for seed in (0, 1):
        scores[f"long, seed {seed}"] = trained(options, plan, options.long, seed)[0]
    for epochs in options.short:
        scores[f"{epochs} epochs"], losses = trained(options, plan, epochs, 2)
    scores[f"sum of losses, {epochs} epochs"] = -sum(losses)
    for epochs in (0, 1):
        heir = evaluator(options, epochs, inherits=True)
        scores[f"inherit, {epochs} epochs"] = accuracy(heir, plan, 2)
    scores |= without_training(options, plan)
    network = evaluator(options, 1).network(plan, 0)
    return {"plan": number, "parameters": count_parameters(network), **scores}


def trained(
    options: argparse.Namespace, plan: SharingPlan, epochs: int, seed: int
) -> tuple[float, list[float]]:
    """Validation accuracy, and the loss of each epoch."""
    losses: list[float] = []
    made = evaluator(options, epochs)
    forward = train(
        [made.network(plan, seed)],
        made.train_batches,
        made.settings,
        [seed],
        report=lambda _epoch, _of, values: losses.append(values["loss"]),
    )
    return right(forward, 1, made.held_out["validation"])[0], losses


def accuracy(measure: TrainingEvaluator, plan: SharingPlan, seed: int) -> float:
    """Of one training."""
    (batch,) = measure(plan, [seed], "validation")
    return batch[0].values["accuracy"]


def without_training(options: argparse.Namespace, plan: SharingPlan) -> Scores:
    """All scores, on a batch of 64 where they need one; higher is better."""
    heir = evaluator(options, 0, inherits=True)
    assert isinstance(heir, InheritingEvaluator)
    data: Batches = heir.train_batches
    batch = Batches(data.images[:64], data.labels[:64], data.mean, data.deviation)
    backbone, source = (evaluator(options, 1).network(SharingPlan(), 2) for _ in range(2))
    source.load_state_dict(heir.trained().state)
    known = Known(backbone, batch, source.eval(), heir.trained().importance)
    return {name: score(name, plan, known, seed=2) for name in SCORES}


def correlations(rows: list[dict[str, Any]], draws: int = 2000) -> dict[str, dict[str, Any]]:
    """Spearman and partial Spearman of each score with the mean of the long trainings."""
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0] if key != "plan"}
    seeds = [columns.pop(f"long, seed {seed}") for seed in (0, 1)]
    target, size = (seeds[0] + seeds[1]) / 2, np.log(columns["parameters"])
    found = {"one seed with the other": interval(seeds[0], seeds[1], size, draws)}
    for name, values in columns.items():
        found[name] = interval(values, target, size, draws)
    last = max((name for name in columns if name.split()[0].isdigit()), key=by_epochs)
    for name in ("inherit, 0 epochs", "inherit, 1 epochs"):
        pair = (columns[name], columns[last])
        found[f"{name}, minus {last}"] = difference(*pair, target, size, draws)
    return found


def by_epochs(name: str) -> int:
    """Of "8 epochs", 8."""
    return int(name.split(maxsplit=1)[0])


def difference(
    one: NDArray[Any],
    other: NDArray[Any],
    target: NDArray[Any],
    given: NDArray[Any],
    draws: int,
) -> dict[str, Any]:
    """How much better one score is than the other, on the same plans, with 95 % intervals."""
    return compared(
        lambda function, some: (
            function(one[some], target[some], given[some])
            - function(other[some], target[some], given[some])
        ),
        len(one),
        draws,
    )


def interval(x: NDArray[Any], y: NDArray[Any], given: NDArray[Any], draws: int) -> dict[str, Any]:
    """Both correlations with their 95 % intervals."""
    return compared(lambda function, some: function(x[some], y[some], given[some]), len(x), draws)


def compared(
    value: Callable[[Correlation, NDArray[Any]], float], plans: int, draws: int
) -> dict[str, Any]:
    """``value`` with either correlation on all plans, and its interval over draws of plans."""
    rng = np.random.default_rng(0)
    samples = [rng.integers(0, plans, plans) for _ in range(draws)]
    result: dict[str, Any] = {}
    for name, function in (("spearman", spearman), ("partial", partial)):
        low, high = np.nanquantile([value(function, some) for some in samples], [0.025, 0.975])
        result[name] = round(value(function, np.arange(plans)), 2)
        result[f"{name}, 95 %"] = [round(float(low), 2), round(float(high), 2)]
    return result


def spearman(x: NDArray[Any], y: NDArray[Any], _: NDArray[Any]) -> float:
    """The correlation of ranks; 0 where one of them does not vary."""
    ranks = rankdata(x), rankdata(y)
    if np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def partial(x: NDArray[Any], y: NDArray[Any], given: NDArray[Any]) -> float:
    """The correlation of what the ranks of ``given`` leave unexplained."""
    xy, xz, yz = spearman(x, y, x), spearman(x, given, x), spearman(y, given, x)
    rest = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(rest)) if rest > 1e-12 else 0.0


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure what is missing."""
    done = {row["plan"] for row in kept(options.out)}
    jobs = [
        (options, number, plan) for number, plan in enumerate(plans(options)) if number not in done
    ]
    random.Random(0).shuffle(jobs)  # what is finished has plans of all sizes at any time
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        yield from pool.imap_unordered(measure, jobs)


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.manual_seed(0)
    heir = evaluator(options, 0, inherits=True)
    assert isinstance(heir, InheritingEvaluator)
    heir.prepare()  # once: the others find it in the cache
    progress = track(run(options), "plans", options.plans, console=Console(stderr=True))
    for row in progress:
        keep(options.out, row)
    rows = kept(options.out)
    found = {**vars(options), "out": str(options.out), "correlations": correlations(rows)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
