"""What plans lose at real size: ResNet-20 on CIFAR-10 of 32x32 pixels, found and hand-made alike.

    isoshare train unshared.json --weights resnet20-12fca82f.th --init inherit --epochs 4
        --batch-size 128 --dataset folder:PATH -o base.safetensors
    python benchmarks/at_scale.py base.safetensors --dataset folder:PATH [--seeds 3] [--epochs 10]
    python benchmarks/at_scale.py --table

The unshared network comes from published weights that the first command fine-tunes on these
images. Plans: those of the papers and of common sense (benchmarks/projection.py), and the plan
files in benchmarks/results/at_scale/, which solve and searches have exported. All are trained
alike: they inherit from the unshared network, which is trained on as they are, with the same rate,
epochs and seeds, and are measured on the test images once per seed. --distill: all of them also
learn what the unshared network answers.

Every training is kept in --out, and a second call goes on from there; --only A+B trains some
plans, and a training that was killed goes on from its last epoch if --checkpoints is the same
folder. --first-seed leaves out those before it. --table prints what is kept as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.progress import track
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from benchmarks.projection import of
from benchmarks.projection import plans as hand_made
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.inheriting.pretrained_evaluator import FINE_TUNING_RATE
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.search.results.describe import plan_in_short
from isoshare.space.apply import count_parameters, plan_parameters
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import find_sites, isomorphic_groups
from isoshare.space.weights.weight_files import file_digest

RESULTS = Path(__file__).parent / "results"
FOUND = RESULTS / "at_scale"
BACKBONE = "resnet_cifar"
ARGUMENTS: dict[str, Argument] = {"depth": 20, "shortcut": "pad"}
PEAK = 0.05
"""Of the learning rate in fine-tuning."""
TRAINED = ("seed", "epochs", "distill")
KEY = ("plan", *TRAINED)
UNSHARED, UNSHARED_PARAMETERS = "unshared", 269_722


def main() -> None:
    """Train what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", nargs="?", help="trained weights of the unshared network")
    parser.add_argument("--dataset", help="CIFAR-10, as folder:PATH")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--distill", action="store_true")
    parser.add_argument("--only", help="names of plans")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "at_scale.jsonl")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        use_threads(1)
        train_missing(options)
    print(table(kept(options.out)))


def train_missing(options: argparse.Namespace) -> None:
    """Seed by seed, so that what is there at any time compares all plans alike."""
    evaluator = evaluator_of(options)
    plans = all_plans()
    wanted = options.only.split("+") if options.only else list(plans)
    asked = {"epochs": options.epochs, "distill": options.distill}
    seeds = range(options.first_seed, options.seeds)
    jobs: list[Row] = [{"plan": name, "seed": seed, **asked} for seed in seeds for name in wanted]
    for job in track(jobs, "training", console=Console(stderr=True)):
        # Looked up each time: two of these commands may fill one file.
        if any(all(row[key] == job[key] for key in KEY) for row in kept(options.out)):
            continue
        keep(options.out, job | measured(evaluator, plans[job["plan"]], job["seed"]))


def evaluator_of(options: argparse.Namespace) -> InheritingEvaluator:
    """All plans inherit from one network."""
    settings = TrainingSettings(
        epochs=options.epochs, batch_size=128, learning_rate=PEAK / FINE_TUNING_RATE
    )
    data = load_dataset(options.dataset, 0.1)
    return InheritingEvaluator(
        BACKBONE,
        ARGUMENTS,
        data,
        settings,
        weights=options.base,
        distill=options.distill,
        checkpoints=options.checkpoints,
    )


def all_plans() -> dict[str, SharingPlan]:
    """By name: made by hand, then found."""
    network = build_backbone(BACKBONE, ARGUMENTS)
    found = {file.stem: SharingPlan.load(file) for file in sorted(FOUND.glob("*.json"))}
    return {**hand_made(network), **last_stages(network), **found}


def last_stages(network: nn.Module) -> dict[str, SharingPlan]:
    """Bases for the later stages alone, where most parameters are."""
    *_, middle, last = (one for one in isomorphic_groups(find_sites(network)) if len(one) > 1)
    names = [[site.name for site in one] for one in (last, middle)]
    ranks = [{"shared_rank": shared, "unique_rank": 1} for shared in (48, 64, 32)]
    return {
        "last stage basis 48/1": of("filter_basis", names[:1], ranks[0]),
        "last stages basis 64/1 and 32/1": of("filter_basis", names, *ranks[1:]),
    }


def measured(evaluator: InheritingEvaluator, plan: SharingPlan, seed: int) -> Row:
    """What one training gives."""
    ((one,),) = evaluator(plan, [seed], "test")
    network = build_backbone(BACKBONE, ARGUMENTS)
    sites = find_sites(network)
    return {
        "test": one.values["accuracy"],
        "parameters": plan_parameters(plan, sites, count_parameters(network)),
        "in short": plan_in_short(plan, sites),
        "base": file_digest(Path(evaluator.weights or ""))[:12],
        "seconds": round(one.seconds),
    }


def by_plan(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each plan, trained for as long and in the same way, by descending parameters."""
    found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["plan"], row["epochs"], row["distill"]].append(row)
    return sorted(found.values(), key=lambda same: -same[0]["parameters"])


def beside_unshared(same: Sequence[Row], rows: Sequence[Row]) -> list[float]:
    """How much more accurate a plan is than the unshared network, for each seed that both have."""
    whole = {tuple(map(row.get, TRAINED)): row for row in rows if row["plan"] == UNSHARED}
    pairs = [(row, whole.get(tuple(map(row.get, TRAINED)))) for row in same]
    return [row["test"] - other["test"] for row, other in pairs if other is not None]


def table(rows: Sequence[Row]) -> str:
    """As Markdown: differences to the unshared network are those of the same seeds."""
    lines = [
        "| plan | kernels/sites | parameters | share | test accuracy | beside unshared |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for same in by_plan(rows):
        first, lost = same[0], spread(beside_unshared(same, rows), sign="+")
        share = f"{first['parameters'] / UNSHARED_PARAMETERS:.0%}"
        name = f"{first['plan']}, distilled" if first["distill"] else first["plan"]
        lines.append(
            f"| {name} | {first['in short']} | {first['parameters']:,} | {share} "
            f"| {spread([row['test'] for row in same])} ({len(same)}) "
            f"| {lost if first['plan'] != UNSHARED else ''} |"
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
