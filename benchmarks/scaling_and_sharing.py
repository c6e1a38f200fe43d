"""Is sharing better than a thinner network? The front of a joint search, trained again and longer.

    python benchmarks/scaling_and_sharing.py STUDY --storage URL [--seeds 3] [--epochs 8]
        [--out benchmarks/results/scaling_and_sharing.jsonl]
    python benchmarks/scaling_and_sharing.py --table [--out ...]

STUDY varied arguments of its backbone (launch --vary). Trained again with seeds that the search
never used, on the training images of the search: its front, the unshared networks that no smaller
one reached, and of each depth the most accurate shared network. Each is measured once per seed on
the test images. Every training is kept in --out, and a second call goes on from there. --table
prints what is kept as Markdown: means and standard deviations over the seeds, and how far each
shared network lies above the unshared ones at equal parameters, interpolated, with the standard
error of that.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import make_config
from isoshare.search.results.describe import plan_in_short
from isoshare.search.results.scaling_alone import Sized, above, best_of, scaling_curve
from isoshare.search.results.study_results import Results, load_results
from isoshare.search.workflows.preparation.evaluator import load_data, training_settings
from isoshare.storage.opening.database import default_url
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store

FRESH = 1_000_000
"""Far from the seeds of any search."""
MORE_IS_BETTER = -1.0

Network = tuple[Row, Sized, float]


def main() -> None:
    """Train what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--storage", default=default_url())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--table", action="store_true")
    here = Path(__file__).parent / "results" / "scaling_and_sharing.jsonl"
    parser.add_argument("--out", type=Path, default=here)
    options = parser.parse_args()
    if options.table:
        print(table(kept(options.out)))
        return
    use_threads(1)
    results = load_results(Store(options.storage), options.study)
    trials = chosen(results)
    known = {(row["trial"], row["seed"]) for row in kept(options.out)}
    # Seed by seed, so that what is there at any time compares all networks alike.
    jobs = [
        (trial, FRESH + seed)
        for seed in range(options.seeds)
        for trial in trials
        if (trial.number, FRESH + seed) not in known
    ]
    evaluator = evaluator_of(results, options.epochs)
    for trial, seed in track(jobs, "training", console=Console(stderr=True)):
        ((measured,),) = evaluator(trial.plan, [seed], "test")
        row = {
            "trial": trial.number,
            "seed": seed,
            "test": measured.values["accuracy"],
            **described(results, trial),
            "epochs": options.epochs,
            "seconds": round(measured.seconds, 1),
        }
        keep(options.out, row)
    print(table(kept(options.out)))


def chosen(results: Results) -> list[TrialRecord]:
    """What is trained again, by ascending parameters."""
    best: dict[object, TrialRecord] = {}
    for trial in sorted(results.finished, key=lambda one: one.value("accuracy") or 0.0):
        if trial.plan.banks:
            best[dict(trial.plan.variant).get("depth")] = trial
    curve = {one.trial for one in scaling_curve(results)}
    unshared = [trial for trial in results.finished if trial.number in curve]
    found = {trial.number: trial for trial in (*results.front.members, *unshared, *best.values())}
    return sorted(found.values(), key=lambda one: one.value("parameters") or 0.0)


def evaluator_of(results: Results, epochs: int) -> TrainingEvaluator:
    """It trains as the search did, but longer."""
    config = make_config(results.study.config.options)
    settings = replace(training_settings(config.training), epochs=epochs)
    data = load_data(config.data)
    return TrainingEvaluator(config.backbone, config.backbone_arg, data, settings)


def described(results: Results, trial: TrialRecord) -> Row:
    """What the table says of a plan beside its accuracy."""
    words = plan_in_short(trial.plan, results.study.context.of(trial.plan).sites)
    sizes = {name: int(trial.value(name) or 0) for name in ("parameters", "macs")}
    return {"plan": words, "shared": bool(trial.plan.banks), **sizes}


def networks(rows: Sequence[Row]) -> list[Network]:
    """One a plan, by ascending parameters: with its standard deviation over the seeds."""
    by_trial: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_trial[row["trial"]].append(row)
    found = []
    for trial, same in by_trial.items():
        values, row = [one["test"] for one in same], same[0]
        spread = stdev(values) if len(values) > 1 else math.nan
        error = spread / math.sqrt(len(values)) if len(values) > 1 else None
        sized = Sized(trial, row["parameters"], fmean(values), error, row["macs"])
        found.append((row | {"seeds": len(values)}, sized, spread))
    return sorted(found, key=lambda one: one[1].parameters)


def unshared_curve(found: Sequence[Network]) -> tuple[Sized, ...]:
    """Scaling alone."""
    return best_of([one for row, one, _ in found if not row["shared"]], MORE_IS_BETTER)


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    all_of_them = networks(rows)
    curve = unshared_curve(all_of_them)
    lines = [
        "| network and plan | parameters | million operations | test accuracy | above scaling |",
        "|---|--:|--:|--:|--:|",
    ]
    for row, sized, spread in all_of_them:
        worth = above(curve, sized) if row["shared"] else None
        told = "" if worth is None else f"{100 * worth.difference:+.1f}"
        if worth is not None and worth.error is not None:
            told += f" ± {100 * worth.error:.1f}"
        if worth is not None and worth.operations is not None:
            told += f", {worth.operations:.2g} times the operations"
        luck = "" if math.isnan(spread) else f" ± {100 * spread:.1f}"
        accuracy = f"{100 * sized.value:.1f}{luck} ({row['seeds']})"
        millions = f"{row['macs'] / 1e6:.1f}"
        lines.append(
            f"| {row['plan']} | {row['parameters']:,} | {millions} | {accuracy} | {told} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
