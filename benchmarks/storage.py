"""How long do readers take on a large study, and how long does it take to read it whole?

    python benchmarks/storage.py [--trials 12500] [--seeds 8] [--rounds 5] [--storage URL]

Fills a database with one study of ``trials`` plans of a ResNet-20 and ``seeds`` measurements each.
Then, in turn, so that a noisy machine is noisy for all:

- ``studies``, ``pareto --json`` and ``export`` as processes, Python's start included; ``--help`` is
  the share of it that has nothing to do with the database;
- ``front``: what they read, within this process;
- ``records``: every record of the study with its plan, and the front from them. This is how the
  front was read before; both must be the same, or the benchmark fails.

Prints JSON: for each the seconds of every round, of the processor (user and system) and of the
wall clock, and the median ratio of records to front.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.search.config import make_config
from isoshare.search.pareto import axes_of, pareto_front, with_all_values
from isoshare.search.results.study_results import load_results
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.storage.records import MeasurementRecord, TrialRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord

PROGRAM = Path(__file__).resolve().parent.parent / "run_search.py"
CONDITIONS = {
    "evaluator": "train",
    "device": "cpu",
    "bfloat16": False,
    "dataset": "0123456789abcdef",
    **dict.fromkeys(("python", "torch", "torchvision", "ray", "optuna", "numpy"), "1.2.3"),
}


def space() -> SearchSpace:
    """ResNet-20: 16 sites in three groups."""
    backbone = build_backbone("resnet_cifar", {"depth": 20})
    return SearchSpace(find_sites(backbone), count_parameters(backbone))


def fill(store: Store, trials: int, seeds: int) -> None:
    """One study named "s" of distinct plans; every fiftieth has failed."""
    shared = space()
    config = make_config({"trials": trials, "replicates": seeds, "workers": 1})
    study = study_record("s", config, shared, DatasetRecord("none", "0" * 16))
    rng, plans = random.Random(0), dict[str, SharingPlan]()
    while len(plans) < trials:
        plan = shared.random_plan(rng)
        plans[plan.fingerprint] = plan
    store.restore_study(study, lambda: records(shared, list(plans.values()), seeds))


def records(shared: SearchSpace, plans: list[SharingPlan], seeds: int) -> Iterator[TrialRecord]:
    """A finished or failed trial for each plan, its accuracy by chance and by its size."""
    rng = random.Random(1)
    for number, plan in enumerate(plans):
        size, failed = shared.trainable_parameters(plan), number % 50 == 0
        values = ({"accuracy": size**0.1 / 4 + rng.gauss(0, 0.01)} for _ in range(seeds))
        measured = (
            MeasurementRecord(seed, "validation", {"epochs": 15}, value, 1.0, CONDITIONS)
            for seed, value in enumerate(values)
        )
        yield TrialRecord(
            number=number,
            plan=plan,
            origin="sampler",
            state="failed" if failed else "finished",
            exact={"parameters": size},
            proposal={"params": shared.parameters(plan), "system_attrs": {}},
            attempts=1,
            error="the loss became nan in epoch 1" if failed else "",
            measurements=() if failed else tuple(measured),
        )


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` gives, seconds of the processor, children included, and of the clock."""
    before, start = os.times(), time.perf_counter()
    done = work()
    wall, after = time.perf_counter() - start, os.times()
    return done, sum(after[:4]) - sum(before[:4]), wall


def command(*arguments: str) -> None:
    """Run our program to its end."""
    subprocess.run([sys.executable, str(PROGRAM), *arguments], check=True, capture_output=True)


def main() -> None:
    """Fill, read, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12_500)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--storage", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = asked.storage or f"sqlite:///{folder}/benchmark.db"
        store, plan = Store(url), f"{folder}/plan.json"
        _, *filling = timed(lambda: fill(store, asked.trials, asked.seeds))
        ways: dict[str, Callable[[], Any]] = {
            "--help": lambda: command("--help"),
            "studies": lambda: command("studies", "--storage", url),
            "pareto": lambda: command("pareto", "s", "--json", "--storage", url),
            "export": lambda: command("export", "s", "-o", plan, "--storage", url),
            "front": lambda: load_results(store, "s").front,
            "records": lambda: from_records(store),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        fronts = []
        for _ in range(asked.rounds):
            for name, work in ways.items():
                done, *took = timed(work)
                seconds[name].append((round(took[0], 3), round(took[1], 3)))
                fronts += [done] if name in ("front", "records") else []
        store.delete_study("s")
    assert all(front == fronts[0] for front in fronts), "the two ways disagree"
    ratios = [
        slow[0] / fast[0] for slow, fast in zip(seconds["records"], seconds["front"], strict=True)
    ]
    print(
        json.dumps(
            {
                "measurements": asked.trials * asked.seeds,
                "filling": filling,
                "processor and wall seconds": seconds,
                "medians": {
                    name: [median(column) for column in zip(*rows, strict=True)]
                    for name, rows in seconds.items()
                },
                "records to front": median(ratios),
            },
            indent=1,
        )
    )


def from_records(store: Store) -> Any:
    """The front from whole records."""
    axes, trials = axes_of(store.study("s")), store.trials("s")
    return pareto_front(axes, with_all_values(axes, trials))


if __name__ == "__main__":
    main()
