"""What plans lose when all are trained longer and alike, found and hand-made alike.

    isoshare train unshared.json --weights resnet20-12fca82f.th --init inherit --epochs 4
        --batch-size 128 --dataset folder:PATH -o base.safetensors
    python benchmarks/at_scale.py base.safetensors --dataset folder:PATH [--seeds 3] [--epochs 10]
    python benchmarks/at_scale.py --task at_scale_mixer --dataset folder:PATH
    python benchmarks/at_scale.py --table

Tasks are networks: benchmarks/at_scale_tasks.py. That of the first two commands is a ResNet-20
whose published weights are fine-tuned on these images; others are trained from scratch. Plans:
those of the papers and of common sense, and the plan files in the folder of the task, which solve
and searches have exported. All are trained alike: they inherit from the unshared network, which is
trained on as they are, with the same rate, epochs and seeds, and are measured on the test images
once per seed. --distill: all of them also learn what the unshared network answers.

Every training is kept in --out, and a second call goes on from there; --only A+B trains some
plans, and a training that was killed goes on from its last epoch if --checkpoints is the same
folder. --first-seed leaves out those before it. --table prints what is kept as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.at_scale_tasks import RESULTS, TASKS, UNSHARED, Plans, Task
from benchmarks.kept import Row, keep, kept
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.training.batches import use_threads
from isoshare.search.results.describe import plan_in_short
from isoshare.space.apply import count_parameters, plan_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import find_sites
from isoshare.space.weights.weight_files import file_digest

VALIDATION = 0.1
"""The fraction of the training images that no plan learns from."""
OURS, JOINT = "ehvi", "joint"
"""How the names of plans begin that our search has found: of one network, and of its widths and
depths too. A joint search trains the network of each first, so it is held beside the other as well.
"""
STARTS = "renumbered"
"""How plans inherit now. Rows of before, without this, are kept and compared with each other."""
TRAINED = ("seed", "epochs", "distill")
KEY = ("plan", *TRAINED, "starts")


def main() -> None:
    """Train what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", nargs="?", help="trained weights of the unshared network")
    parser.add_argument("--task", choices=TASKS, default="at_scale")
    parser.add_argument("--dataset", help="CIFAR-10, as folder:PATH")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--distill", action="store_true")
    parser.add_argument("--only", help="names of plans")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, help="by default that of the task")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.out = options.out or RESULTS / f"{options.task}.jsonl"
    if not options.table:
        use_threads(1)
        train_missing(options)
    print(table(kept(options.out)))


def train_missing(options: argparse.Namespace) -> None:
    """Seed by seed, so that what is there at any time compares all plans alike."""
    task = TASKS[options.task]
    evaluator = evaluator_of(task, options)
    plans = task.plans()
    wanted = options.only.split("+") if options.only else list(plans)
    asked = {"epochs": options.epochs, "distill": options.distill, "starts": STARTS}
    seeds = range(options.first_seed, options.seeds)
    jobs: list[Row] = [{"plan": name, "seed": seed, **asked} for seed in seeds for name in wanted]
    for job in track(jobs, "training", console=Console(stderr=True)):
        rows = kept(options.out)  # each time: two of these commands may fill one file
        if any(all(row.get(key) == job[key] for key in KEY) for row in rows):
            continue
        twin = twin_of(job, plans, rows)
        found = twin or measured(evaluator, plans[job["plan"]], job["seed"])
        keep(options.out, job | found | job)


def twin_of(job: Row, plans: Plans, rows: Sequence[Row]) -> Row | None:
    """What the same plan gave under another name: no plan is trained twice."""
    for row in rows:
        is_alike = all(row.get(key) == job[key] for key in (*TRAINED, "starts"))
        if is_alike and plans.get(row["plan"]) == plans[job["plan"]]:
            return row
    return None


def evaluator_of(task: Task, options: argparse.Namespace) -> InheritingEvaluator:
    """All plans inherit from one network."""
    return InheritingEvaluator(
        task.backbone,
        dict(task.arguments),
        load_dataset(options.dataset, VALIDATION, task.data),
        replace(task.settings, epochs=options.epochs),
        pretrain_epochs=task.pretrain_epochs,
        weights=options.base,
        distill=options.distill,
        checkpoints=options.checkpoints,
    )


def measured(evaluator: InheritingEvaluator, plan: SharingPlan, seed: int) -> Row:
    """What one training gives."""
    ((one,),) = evaluator(plan, [seed], "test")
    network = build_backbone(evaluator.backbone, {**evaluator.arguments, **dict(plan.variant)})
    sites = find_sites(network)
    base = file_digest(Path(evaluator.weights))[:12] if evaluator.weights else None
    return {
        "test": one.values["accuracy"],
        "parameters": plan_parameters(plan, sites, count_parameters(network)),
        "in short": plan_in_short(plan, sites),
        "base": base,
        "seconds": round(one.seconds),
    }


def by_plan(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each plan, trained for as long and in the same way, by descending parameters."""
    found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["plan"], row["epochs"], row["distill"], row.get("starts")].append(row)
    return sorted(found.values(), key=lambda same: -same[0]["parameters"])


def unshared_parameters(rows: Sequence[Row]) -> int:
    """Of the network that nothing was shared in."""
    return int(next(row["parameters"] for row in rows if row["plan"] == UNSHARED))


def beside_unshared(same: Sequence[Row], rows: Sequence[Row]) -> list[float]:
    """How much more accurate a plan is than the unshared network."""
    unshared = [row for row in rows if row["plan"] == UNSHARED]
    alike = [row for row in unshared if row.get("starts") == same[0].get("starts")]
    return differences(same, alike or unshared)


def differences(ones: Sequence[Row], others: Sequence[Row]) -> list[float]:
    """Of the accuracies of two plans, for each seed that both have, trained alike."""
    known = {tuple(map(row.get, TRAINED)): row["test"] for row in others}
    pairs = [(row["test"], known.get(tuple(map(row.get, TRAINED)))) for row in ones]
    return [one - other for one, other in pairs if other is not None]


def table(rows: Sequence[Row]) -> str:
    """As Markdown: differences to the unshared network are those of the same seeds."""
    lines = [
        "| plan | kernels/sites | parameters | share | test accuracy | beside unshared |",
        "|---|---|--:|--:|--:|--:|",
    ]
    whole, again = unshared_parameters(rows), {row["plan"] for row in rows if row.get("starts")}
    for same in by_plan(rows):
        first, lost = same[0], spread(beside_unshared(same, rows), sign="+")
        share = f"{first['parameters'] / whole:.0%}"
        name = f"{first['plan']}, distilled" if first["distill"] else first["plan"]
        if name in again and not first.get("starts"):
            name = f"{name}, earlier starts"
        lines.append(
            f"| {name} | {first['in short']} | {first['parameters']:,} | {share} "
            f"| {spread([row['test'] for row in same])} ({len(same)}) "
            f"| {lost if first['plan'] != UNSHARED else ''} |"
        )
    return "\n".join(lines)


Duel = tuple[list[Row], list[Row], list[float]]
"""A plan, one that our search has found, and by how much more accurate that is, by seed."""


def duels(rows: Sequence[Row], ours: str = OURS) -> list[Duel]:
    """Each plan that our search has not found beside one that it has: for the same budget if
    another search has found it, else the best that is no larger.
    """
    plans = [same for same in by_plan(rows) if same[0]["plan"] != UNSHARED]
    found = [same for same in plans if same[0]["plan"].startswith(ours)]
    dearer = (JOINT,) if ours == JOINT else (OURS, JOINT)
    told = []
    for other in (same for same in plans if not same[0]["plan"].startswith(dearer)):
        budget = budget_of(other[0])
        rivals = [
            same
            for same in found
            if started_alike(same[0], other[0])
            and (
                same[0]["plan"] == f"{ours} at {budget}"
                or (not budget and same[0]["parameters"] <= other[0]["parameters"])
            )
        ]
        if rivals:
            best = max(rivals, key=lambda same: fmean(row["test"] for row in same))
            told.append((other, best, differences(best, other)))
    return told


def started_alike(one: Row, other: Row) -> bool:
    """Whether two plans inherited in the same way, or the second has nothing to inherit."""
    return UNSHARED in other["in short"] or one.get("starts") == other.get("starts")


def budget_of(row: Row) -> str:
    """For which a search found a plan; empty if none did."""
    return str(row["plan"]).partition(" at ")[2]


def duel_table(rows: Sequence[Row], ours: str = OURS) -> str:
    """As Markdown."""
    lines = [
        "| plan | parameters | test accuracy | found | parameters | more accurate by |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for other, best, ahead in duels(rows, ours):
        lines.append(
            f"| {other[0]['plan']} | {other[0]['parameters']:,} "
            f"| {spread([row['test'] for row in other])} ({len(other)}) "
            f"| {best[0]['plan']} | {best[0]['parameters']:,} | {spread(ahead, sign='+')} |"
        )
    return "\n".join(lines)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Percent: their mean, with their standard deviation where there are several."""
    if not values:
        return ""
    luck = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):{sign}.1f}{luck}"


if __name__ == "__main__":
    main()
