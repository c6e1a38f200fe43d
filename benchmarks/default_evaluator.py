"""From scratch or from a trained network: which tells plans apart for what it costs?

    python benchmarks/default_evaluator.py --table sharebench-cifar10-16 --dataset folder:PATH
        [--plans 24] [--long 12] [--seeds 4]

A seeded choice of the plans of a table of ShareBench, with its network, data and settings. Each is
measured with one seed by training from scratch for 1, 2 and 4 epochs, and by inheriting from the
unshared network for 0 and 1; that network's training counts as what it costs. There are two
truths: training each plan from scratch for --long epochs with --seeds other seeds, which favours
what trains from scratch, and what the table holds. Spearman's correlation and the partial one with
the logarithm of the parameters held fixed, bootstrap intervals over the plans, also of differences
between two ways of about one cost. Seconds are of the processor, one thread. Every measurement is
kept in --out, and a second call goes on from there. Prints Markdown.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from benchmarks.ranking import difference, interval
from benchmarks.sharebench import evaluator
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.workflows.preparation.tabular import table_space

PRETRAIN = 20
CHEAP_SEED, FIRST_LONG_SEED = 3, 10
"""Tables have 0 to 3 at most."""
WAYS = {
    "inherit, 0 epochs": (0, True),
    "scratch, 1 epoch": (1, False),
    "inherit, 1 epoch": (1, True),
    "scratch, 2 epochs": (2, False),
    "scratch, 4 epochs": (4, False),
}
PAIRS = (
    ("inherit, 0 epochs", "scratch, 1 epoch"),
    ("inherit, 1 epoch", "scratch, 2 epochs"),
    ("inherit, 1 epoch", "scratch, 4 epochs"),
)
"""Of about one cost, the unshared network's training included, in a search of 40 plans."""
SEARCH, DRAWS = 40, 2000
KEY = ("table", "plan", "way", "seed")
HEAD = "| way | a search of 40 plans | Spearman | at equal parameters |\n|---|---|---|---|"
Numbers = NDArray[np.float64]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True)
    parser.add_argument("--dataset")
    parser.add_argument("--plans", type=int, default=24)
    parser.add_argument("--long", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=4)
    kept_in = Path("benchmarks/results/default_evaluator.jsonl")
    parser.add_argument("--out", type=Path, default=kept_in)
    return parser.parse_args()


class Bench:
    """The network and data of a table, and what measures its plans."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.table = options, Table.load(options.table)
        shuffled = random.Random(0).sample(self.table.plans, len(self.table.plans))
        self.plans = shuffled[: options.plans]  # more of them later are these and others
        made = evaluator(options.table, options.dataset)
        asked = (made.backbone, made.arguments, made.dataset)
        self.measures: dict[str, TrainingEvaluator] = {}
        for way, (epochs, inherits) in WAYS.items():
            settings = replace(made.settings, epochs=epochs)
            self.measures[way] = (
                InheritingEvaluator(*asked, settings, pretrain_epochs=PRETRAIN)
                if inherits
                else TrainingEvaluator(*asked, settings)
            )
        self.long = f"{options.long} epochs"
        self.long_seeds = [FIRST_LONG_SEED + place for place in range(options.seeds)]
        settings = replace(made.settings, epochs=options.long)
        self.measures[self.long] = TrainingEvaluator(*asked, settings)
        for measure in self.measures.values():
            measure.prepare()  # the first trains the unshared network, the others find it

    def jobs(self) -> list[Row]:
        """What tells rows from each other, plan by plan."""
        return [
            {"table": self.options.table, "plan": plan.fingerprint, "way": way, "seed": seed}
            for plan in self.plans
            for way in (*WAYS, self.long)
            for seed in (self.long_seeds if way == self.long else [CHEAP_SEED])
        ]

    def measured(self, job: Row) -> Row:
        """One row, with its accuracy."""
        plan = self.table.plans[self.table.place[job["plan"]]]
        began = time.process_time()
        ((one,),) = self.measures[job["way"]](plan, [job["seed"]], "validation")
        found = round(one.values["accuracy"], 5)
        return {**job, "accuracy": found, "seconds": round(time.process_time() - began, 2)}


class Comparison:
    """The rows of one table, plans by ways."""

    def __init__(self, bench: Bench, rows: Sequence[Row]) -> None:
        self.found = {(row["plan"], row["way"], row["seed"]): row for row in rows}
        self.bench = bench
        self.names = [plan.fingerprint for plan in bench.plans]
        table, space = bench.table, table_space(bench.table)
        places = [table.place[name] for name in self.names]
        self.sizes = np.log([space.trainable_parameters(table.plans[one]) for one in places])
        self.truths = {
            f"from scratch, {bench.long}": self.long_truth().mean(axis=1),
            "the table": table.accuracy("validation")[places, :, -1].mean(axis=1),
        }

    def cheap(self, way: str) -> Numbers:
        """Accuracies, (plans,)."""
        return np.array([self.found[name, way, CHEAP_SEED]["accuracy"] for name in self.names])

    def long_truth(self) -> Numbers:
        """Accuracies, (plans, seeds)."""
        seeds, long = self.bench.long_seeds, self.bench.long
        return np.array(
            [[self.found[name, long, seed]["accuracy"] for seed in seeds] for name in self.names]
        )

    def seconds(self, way: str) -> float:
        """Of a search of 40 plans: the unshared network trains as long as plans do, an epoch."""
        each = {
            one: fmean(self.found[name, one, CHEAP_SEED]["seconds"] for name in self.names)
            for one in WAYS
        }
        epoch = each["scratch, 4 epochs"] / 4
        return SEARCH * each[way] + (PRETRAIN * epoch if WAYS[way][1] else 0.0)

    def lines(self) -> Iterator[str]:
        """The tables."""
        one, other = self.truths.values()
        agreed = shown(interval(one, other, self.sizes, DRAWS))
        yield f"{self.bench.options.table}, {len(self.names)} plans; the truths agree: {agreed}"
        seeds = self.long_truth()
        if seeds.shape[1] > 1:
            one, other = (seeds[:, place::2].mean(axis=1) for place in (0, 1))
            alike = shown(interval(one, other, self.sizes, DRAWS))
            yield f"Two halves of the {seeds.shape[1]} seeds from scratch agree: {alike}"
        for title, truth in self.truths.items():
            yield from ("", f"Truth: {title}", "", HEAD)
            for way in WAYS:
                scored = interval(self.cheap(way), truth, self.sizes, DRAWS)
                yield f"| {way} | {self.seconds(way):,.0f} s | {shown(scored)} |"
            for one, other in PAIRS:
                both = self.cheap(one), self.cheap(other)
                scored = difference(*both, truth, self.sizes, DRAWS)
                yield f"| {one}, less {other} | | {shown(scored)} |"


def shown(scored: Row) -> str:
    """Both correlations with their intervals."""
    parts = []
    for name in ("spearman", "partial"):
        low, high = scored[f"{name}, 95 %"]
        parts.append(f"{scored[name]:.2f} ({low:.2f} to {high:.2f})")
    return " | ".join(parts)


def main() -> None:
    """Measure what is missing and print everything."""
    options = parse()
    use_threads(1)
    bench = Bench(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = [{key: row[key] for key in KEY} for row in kept(options.out)]
    jobs = [job for job in bench.jobs() if job not in done]
    for job in track(jobs, "measuring", console=Console(stderr=True)):
        keep(options.out, bench.measured(job))
    rows = [row for row in kept(options.out) if row["table"] == options.table]
    print("\n".join(Comparison(bench, rows).lines()))


if __name__ == "__main__":
    main()
