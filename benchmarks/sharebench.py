"""Compute a table of ShareBench: plans of a space, trained with some seeds; of a small one all.

    python benchmarks/sharebench.py sharebench-digits [--seeds 3] [--processes 2] [--out DIR]

What is trained, and how, stands in RECIPES. After each epoch the images that each seed gets right
are counted, on the validation and on the test images. Every trained plan is kept in --out, and a
second call goes on from there; when all are there the table is written. Prints a summary as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import keep, kept
from benchmarks.ranking import partial, spearman
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.data.splits import DataOptions, stratified_subset, take
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.sharebench import FOLDER, PARTS, Part, Table
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import epochs
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import make_config
from isoshare.search.pareto import nondominated
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.search.workflows.preparation.tabular import table_space
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.sampled_space import SampledSpace
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.space.variants.arguments import combinations
from isoshare.space.variants.variant_space import Space, VariantSpace
from isoshare.storage.study_values import DatasetRecord

Document = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What a table is made of. Settings were chosen so that plans differ by more than their seeds
    do, and so that all of it takes hours and not days. test_images: so many of them are counted,
    a stratified choice; None: all. pretrain_epochs: of the unshared network whose weights the plans
    inherit; None: they are trained from scratch. vary: arguments of the backbone that plans name.
    sampled: so many plans that cover the sizes evenly, of a space too large to be trained; None:
    all of them.
    """

    backbone: str
    arguments: dict[str, Argument]
    methods: tuple[str, ...]
    dataset: str
    options: DataOptions
    validation: float
    settings: TrainingSettings
    test_images: int | None = None
    pretrain_epochs: int | None = None
    vary: dict[str, tuple[Argument, ...]] = field(default_factory=dict)
    sampled: int | None = None

    def config(self) -> Document:
        """The options of a search that trains in this way, as JSON values."""
        chosen = {
            "backbone": self.backbone,
            "backbone_arg": self.arguments,
            "dataset": self.dataset,
            "methods": self.methods,
            "validation": self.validation,
            **asdict(self.settings),
            "evaluator": "inherit" if self.pretrain_epochs else "train",
            "pretrain_epochs": self.pretrain_epochs or 1,
            "subset": self.options.subset,
            "resolution": self.options.resolution,
            **({"vary": self.vary} if self.vary else {}),
        }
        document = make_config(chosen).document()
        return {name: document[name] for name in chosen}


RECIPES = {
    "sharebench-digits": Recipe(
        "convmixer",
        {"width": 12, "depth": 4, "kernel": 3, "patch": 2, "classes": 10, "in_channels": 1},
        tuple(METHODS),
        "digits",
        DataOptions(),
        0.5,
        TrainingSettings(6, 32, 0.012, "adamw"),
    ),
    "sharebench-variants": Recipe(
        "convmixer",
        {"width": 16, "depth": 3, "kernel": 3, "patch": 2, "classes": 10, "in_channels": 1},
        ("kernel",),
        "digits",
        DataOptions(),
        0.5,
        TrainingSettings(6, 32, 0.012, "adamw"),
        vary={"depth": (2, 3), "width": (6, 8, 10, 12, 14, 16)},
    ),
    # Trained from scratch for so short a time, plans of CIFAR-10 differ by their seeds alone.
    "sharebench-cifar10": Recipe(
        "resnet_cifar",
        {"depth": 14, "width": 4, "classes": 10, "in_channels": 3},
        ("kernel",),
        "cifar10",
        DataOptions(subset=4_000, resolution=8),
        0.25,
        TrainingSettings(2, 64, 0.1),
        test_images=1_000,
        pretrain_epochs=20,
    ),
    "sharebench-cifar10-16": Recipe(
        "resnet_cifar",
        {"depth": 14, "width": 8, "classes": 10, "in_channels": 3},
        tuple(METHODS),
        "cifar10",
        DataOptions(subset=8_000, resolution=16),
        0.25,
        TrainingSettings(2, 64, 0.1),
        test_images=2_000,
        pretrain_epochs=20,
        sampled=320,
    ),
}
SAMPLED = "plans of a larger space that cover its sizes evenly"
DRAWN_PER_PLAN, PLANS_PER_SIZE = 60, 10
"""Of a sampled table: so many plans are drawn for each that is taken, and so many are taken where
sizes are alike, where as many are found."""


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dataset", help="where the data of the recipe lie, as folder:PATH")
    parser.add_argument("--out", type=Path, default=Path("isoshare-out/sharebench"))
    options = parser.parse_args()
    recipe = RECIPES[options.table]
    file = options.out / f"{options.table}.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    known = {plan_of(line).fingerprint for line in kept(file)}
    plans = [plan for plan in space(recipe).plans() if plan.fingerprint not in known]
    random.Random(0).shuffle(plans)  # so that the time left can be told
    jobs = [(options.table, options.dataset, plan, options.seeds) for plan in plans]
    with multiprocessing.Pool(options.processes, use_threads, (1,)) as pool:
        done = pool.imap_unordered(measure, jobs)
        for line in track(done, "training", total=len(jobs), console=Console(stderr=True)):
            keep(file, line)
    found = table(options.table, options.dataset, kept(file), options.seeds)
    found.save(FOLDER / f"{options.table}.parquet")
    print(json.dumps(summary(found), indent=2))


def space(recipe: Recipe, image: torch.Tensor | None = None) -> Space:
    """All plans of the table. image: (1, channels, height, width), where costs are asked for."""

    def of(variant: Variant) -> SearchSpace:
        backbone = build_backbone(recipe.backbone, recipe.arguments, **dict(variant))
        sites = find_sites(backbone)
        costs = None if image is None else network_costs(backbone, sites, image)
        parameters = count_parameters(backbone)
        return SearchSpace(sites, parameters, recipe.methods, None, costs, variant)

    if recipe.sampled:
        return evenly_sampled(of(()), recipe.sampled)
    if not recipe.vary:
        return of(())
    members = {variant: of(variant) for variant in combinations(recipe.vary)}
    reference = tuple((name, recipe.arguments[name]) for name in sorted(recipe.vary))
    return VariantSpace(members, recipe.vary, reference)


def evenly_sampled(whole: SearchSpace, count: int) -> SampledSpace:
    """So many plans of a space whose sizes cover it evenly, up to that of the unshared network: the
    ones that every search begins with, then from each interval of sizes a few, from the smallest
    to the largest and again, of plans of one method and of all that were drawn.
    """
    rng, asked = random.Random(0), (whole.sites, whole.unshared)
    spaces = [whole, *(SearchSpace(*asked, (method,)) for method in whole.methods)]
    drawn = [one.random_plan(rng) for _ in range(DRAWN_PER_PLAN * count) for one in spaces]
    starts = list(dict.fromkeys(whole.warm_starts().values()))
    others = [plan for plan in dict.fromkeys(drawn) if plan not in starts and plan in whole]
    size = whole.trainable_parameters
    smallest, largest = math.log(size(whole.smallest_plan)), math.log(whole.unshared)
    width = (largest - smallest) * PLANS_PER_SIZE / count
    alike: dict[int, list[SharingPlan]] = defaultdict(list)
    for plan in others:
        if size(plan) <= whole.unshared:
            alike[int((math.log(size(plan)) - smallest) / width)].append(plan)
    turns = zip_longest(*(alike[interval] for interval in sorted(alike)))
    found = (plan for turn in turns for plan in turn if plan is not None)
    plans = [*starts, *islice(found, count - len(starts))]
    return SampledSpace(whole, plans)


@cache
def evaluator(table: str, dataset: str | None) -> TrainingEvaluator:
    """What trains the plans, once a process."""
    recipe = RECIPES[table]
    data = load_dataset(dataset or recipe.dataset, recipe.validation, recipe.options)
    if recipe.test_images is not None:
        some = stratified_subset(data.test.labels, recipe.test_images)
        data = replace(data, test=take(data.test, some))
    asked = (recipe.backbone, recipe.arguments, data, recipe.settings)
    if recipe.pretrain_epochs is None:
        return TrainingEvaluator(*asked)
    return InheritingEvaluator(*asked, pretrain_epochs=recipe.pretrain_epochs)


def measure(job: tuple[str, str | None, SharingPlan, int]) -> Document:
    """Train one plan with all seeds: images that are right, for each seed and epoch."""
    table, dataset, plan, count = job
    made, seeds = evaluator(table, dataset), range(count)
    networks = [made.network(plan, seed) for seed in seeds]
    right: dict[str, list[list[int]]] = {"validation": [], "test": []}
    seconds, started = 0.0, time.perf_counter()
    for epoch in epochs(networks, made.train_batches, made.training_settings, seeds):
        seconds += time.perf_counter() - started
        for split, of_epochs in right.items() if epoch.number else ():
            held_out = made.held_out[split]  # type: ignore[index]
            shares = accuracy(epoch.forward, count, held_out)
            of_epochs.append([round(share * len(held_out.labels)) for share in shares])
        started = time.perf_counter()
    return {
        "banks": plan.stored,
        "seconds": seconds / made.settings.epochs / count,
        **{split: list(map(list, zip(*rows, strict=True))) for split, rows in right.items()},
    }


def table(name: str, dataset: str | None, found: list[Document], seeds: int) -> Table:
    """The table of the plans that were trained."""
    recipe, made = RECIPES[name], evaluator(name, dataset)
    everything = space(recipe, torch.zeros(1, *made.dataset.train.images.shape[1:]))
    config = recipe.config()
    data = DatasetRecord(made.dataset.name, made.dataset.fingerprint)
    right: dict[Part, NDArray[np.int64]] = {
        part: np.array([line[part] for line in found]) for part in PARTS
    }
    images = {part: len(made.held_out[part].labels) for part in PARTS}
    accuracy = right["validation"][:, :, -1] / images["validation"]
    conditions = {
        "command": f"python benchmarks/sharebench.py {name} --seeds {seeds}",
        "config": config,
        "context": study_record(name, make_config(config), everything, data).context.document(),
        "images": images,
        "seeds": seeds,
        **({"sampled": SAMPLED} if recipe.sampled else {}),
        "seed_deviation": float(np.sqrt(accuracy.var(axis=1, ddof=1).mean())),
        "reference": {
            "accuracy": float(accuracy.mean(axis=1).min()),
            "parameters": 1.1 * everything.largest.unshared,
        },
    }
    plans = tuple(map(plan_of, found))
    sizes = np.array([everything.trainable_parameters(plan) for plan in plans])
    conditions["reliability"] = reliability(accuracy, sizes)
    return Table(conditions, plans, right, np.array([line["seconds"] for line in found]))


def reliability(accuracy: NDArray[np.float64], parameters: NDArray[np.int64]) -> Document:
    """How far two halves of the seeds agree about the order of plans: Spearman, and the same beyond
    what the size of a plan says (partial). accuracy: (plans, seeds); parameters: (plans,).
    """
    half = accuracy.shape[1] // 2
    halves = (accuracy[:, :half].mean(axis=1), accuracy[:, half:].mean(axis=1), parameters)
    return {"spearman": round(spearman(*halves), 3), "partial": round(partial(*halves), 3)}


def summary(found: Table) -> Document:
    """What is worth knowing of a table."""
    accuracy = found.accuracy("validation")[:, :, -1].mean(axis=1)
    space = table_space(found)
    parameters = np.array([space.trainable_parameters(plan) for plan in found.plans])
    points = np.column_stack([-accuracy, parameters])
    front = sorted(nondominated(points), key=lambda row: parameters[row])
    luck = found.conditions["seed_deviation"] ** 2 / found.conditions["seeds"]
    between = accuracy.var(ddof=1) - luck
    return {
        "plans": len(found.plans),
        "seeds": found.conditions["seeds"],
        "seed_deviation": found.conditions["seed_deviation"],
        "reliability": reliability(found.accuracy("validation")[:, :, -1], parameters),
        "plan_deviation": float(np.sqrt(max(0.0, between))),
        "hours": float(found.seconds.sum() * found.right["validation"][0].size / 3600),
        "front": [[int(parameters[row]), round(float(accuracy[row]), 4)] for row in front],
    }


def plan_of(line: Document) -> SharingPlan:
    """The plan of a line."""
    return SharingPlan.restored(line["banks"])


if __name__ == "__main__":
    main()
