"""Is one search over all variants of a backbone worth more than a search in each of them?

    python benchmarks/joint_search.py [--table sharebench-variants] [--seeds 30] [--trials 60]
        [--out benchmarks/results/joint_search.jsonl]

Answered by a table of ShareBench. At equal numbers of trials: the joint search; one search per
variant, which take turns; a random joint search; and scaling alone, all unshared networks. A search
sees one seed per trial. Scored is what is true of the plans it measured, the mean over the table's
seeds: hypervolume in log-parameters and validation accuracy, as a share of that of all plans. Every
finished round is kept in --out, and a second call goes on from there. Prints medians, quartiles and
paired Wilcoxon tests as Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from scipy.stats import wilcoxon

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from benchmarks.sharebench import RECIPES, space
from benchmarks.truth import Point, score, truth_of
from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.training.batches import use_threads
from isoshare.search.config import make_config
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.workflows.launch import prepare, start
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.plan import SharingPlan, Variant
from isoshare.storage.store import Store
from isoshare.storage.study_values import StudyContext

JOINT = "joint"
WAYS = (JOINT, "one search per variant", "joint, random", "scaling alone")
IMAGE = (1, 1, 8, 8)
"""Of digits, on which all recipes with variants are trained."""


def main() -> None:
    """Run what is missing and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="sharebench-variants")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=60)
    here = Path(__file__).parent / "results" / "joint_search.jsonl"
    parser.add_argument("--out", type=Path, default=here)
    options = parser.parse_args()
    use_threads(1)
    rows = kept(options.out)
    known = {row["seed"] for row in rows}
    left = [seed for seed in range(options.seeds) if seed not in known]
    with tempfile.TemporaryDirectory() as folder:
        parts = variants_of(options.table, Path(folder)) if left else []
        for seed in track(left, "searching", console=Console(stderr=True)):
            rows.append(compared(options.table, parts, seed, options.trials))
            keep(options.out, rows[-1])
    print(table(rows))


def variants_of(name: str, folder: Path) -> list[str]:
    """A table for each variant alone, as files."""
    whole = Table.load(name)
    found = []
    for place, variant in enumerate(dict.fromkeys(plan.variant for plan in whole.plans)):
        alone(name, whole, variant).save(file := folder / f"{place}.parquet")
        found.append(str(file))
    return found


def alone(name: str, whole: Table, variant: Variant) -> Table:
    """The plans of one variant, as those of a backbone that is not varied."""
    recipe = RECIPES[name]
    fixed = replace(recipe, arguments={**recipe.arguments, **dict(variant)}, vary={})
    data = StudyContext.read(whole.conditions["context"]).dataset
    record = study_record(
        name, make_config(fixed.config()), space(fixed, torch.zeros(*IMAGE)), data
    )
    conditions = {"config": fixed.config(), "context": record.context.document()}
    rows = [place for place, plan in enumerate(whole.plans) if plan.variant == variant]
    return Table(
        {**whole.conditions, **conditions},
        tuple(SharingPlan(whole.plans[row].banks) for row in rows),
        {part: right[rows] for part, right in whole.right.items()},
        whole.seconds[rows],
    )


def compared(name: str, parts: Sequence[str], seed: int, trials: int) -> Row:
    """One round: the scores after each full turn through the variants."""
    turns = range(1, trials // len(parts) + 1)
    each = [measured(part, "ehvi", seed, len(turns)) for part in parts]
    joint = {way: measured(name, sampler, seed, trials) for way, sampler in SEARCHES.items()}
    truth, reference = truth_of(name)
    plans = Table.load(name).plans
    unshared = [truth[plan.fingerprint] for plan in plans if not plan.banks]
    best = score(list(truth.values()), reference)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in turns:
        seen: dict[str, list[Point]] = {
            **{way: points[: turn * len(parts)] for way, points in joint.items()},
            WAYS[1]: [point for points in each for point in points[:turn]],
            WAYS[3]: unshared,
        }
        for way, points in seen.items():
            found[way].append(round(score(points, reference) / best, 5))
    return {"seed": seed, "trials": [turn * len(parts) for turn in turns], **found}


SEARCHES = {JOINT: "ehvi", WAYS[2]: "random"}
"""The sampler of each joint search."""


def measured(table: str, sampler: str, seed: int, trials: int) -> list[Point]:
    """What is true of the plans that a search measures, in its order."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/study.db")
        asked = {"table": table, "sampler": sampler, "seed": seed, "trials": trials, "workers": 1}
        prepared = prepare(make_config(asked), store)
        run_simulated(start(prepared, store), prepared.evaluator, 1)
        truth, _ = truth_of(table)
        found = [truth[one.plan.fingerprint] for one in store.trials(prepared.study.name)]
        store.close()
    return found


def table(rows: Sequence[Row]) -> str:
    """As Markdown: shares of the hypervolume of all plans, quartiles; p beside the joint search."""
    lines = [f"| trials | {' | '.join(WAYS)} |", f"|--:|{'---|' * len(WAYS)}"]
    for place, trials in enumerate(rows[0]["trials"]):
        scores = {way: np.array([row[way][place] for row in rows]) for way in WAYS}
        cells = []
        for way, values in scores.items():
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            cell = f"{middle:.3f} ({low:.3f} to {high:.3f})"
            if way != JOINT and np.any(values != scores[JOINT]):
                better = float(wilcoxon(scores[JOINT], values).pvalue)
                cell += f", p {better:.2g}"
            cells.append(cell)
        lines.append(f"| {trials} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
