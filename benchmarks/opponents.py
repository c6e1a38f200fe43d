"""Beside the searchers that people would take instead: who finds the best front in how many trials?

    python benchmarks/opponents.py [--tables sharebench-digits,...] [--seeds 10]
        [--trials 60] [--searchers ehvi,botorch,...] [--minutes 50] [--print]

    pip install botorch smac syne-tune neural-pipeline-search    # what is missing is left out

All of benchmarks/searchers.py search the same table of ShareBench: one seed a plan, drawn by plan
and search, so that searches of one number are pairs. All measure the same plans first, those that
every search of ours begins with; then each goes its own way. A plan that is asked for again is
answered from memory and not charged. A training that goes on is charged the epochs it adds, and
only plans trained to their end count as found. After so many full trainings the plans found are
scored by what is true as in benchmarks/search_efficiency.py, whose ceiling is printed beside them.
Every finished search is kept in --out, and a second call goes on from there; --print only prints.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from benchmarks.search_task import SpentError, Task
from benchmarks.searchers import SEARCHERS
from benchmarks.truth import ceiling, score, shown, true_front, truth_of
from isoshare.evaluators.training.batches import use_threads

Searches = dict[int, Row]
"""By seed."""
BUDGETS = (10, 20, 40, 60, 100, 200)
TABLES = ("sharebench-cifar10-16", "sharebench-digits", "sharebench-cifar10")
OURS, FORESEEN = "ehvi", "ehvi --solve-first"
SLOW = {
    "BoTorch": 60,
    "BoTorch from our start": 60,
    "SMAC3": 60,
    "Syne Tune EHVI": 40,
    "NePS PriMO": 40,
}
"""Trials of those that take seconds a proposal."""
SIGNIFICANT = 0.05
FEWEST = 6
"""Pairs without which Wilcoxon's test cannot say anything at 5 %."""


def main() -> None:
    """Run what is missing and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--searchers", default=",".join(SEARCHERS))
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--print", action="store_true")
    here = Path(__file__).parent / "results" / "opponents.jsonl"
    parser.add_argument("--out", type=Path, default=here)
    options = parser.parse_args()
    if not options.print:
        run(options)
    rows = kept(options.out)
    for name in tables_of(rows):
        print(f"{name}\n\n{table(rows, name)}\n")
    print(verdict(rows))


def run(options: argparse.Namespace) -> None:
    """All searches that are not kept yet, one after another, in pairs as far as the time goes."""
    use_threads(1)
    end = time.monotonic() + 60 * options.minutes
    known = {
        (row["table"], row["searcher"], row["seed"]): row["trials"] for row in kept(options.out)
    }
    for seed in range(options.seeds):
        for name in options.tables.split(","):
            for searcher in options.searchers.split(","):
                trials = min(options.trials, SLOW.get(searcher, options.trials))
                if known.get((name, searcher, seed), 0) >= trials or time.monotonic() > end:
                    continue
                try:
                    keep(options.out, searched(name, searcher, seed, trials))
                except ImportError as missing:
                    print(f"{searcher} is left out: {missing}", file=sys.stderr)


def searched(name: str, searcher: str, seed: int, trials: int) -> Row:
    """One search, scored: of the plans found, and of the front that its measurements show."""
    task = Task(name, seed, trials)
    started = time.process_time()
    with suppress(SpentError):
        SEARCHERS[searcher](task)
    seconds = time.process_time() - started
    truth, reference = truth_of(name)
    best, _ = true_front(name)
    found: dict[str, float] = {}
    front: dict[str, float] = {}
    for budget in (one for one in BUDGETS if one <= trials):
        plans = task.finished(budget)
        measured = [(task.accuracy[one], truth[one][1]) for one in plans]
        for kind, points in (
            (found, [truth[one] for one in plans]),
            (front, [truth[plans[place]] for place in shown(measured)]),
        ):
            kind[str(budget)] = round(score(points, reference) / best, 5)
    return {
        "table": name,
        "searcher": searcher,
        "seed": seed,
        "trials": trials,
        "found": found,
        "shown": front,
        "seconds": round(seconds, 2),
    }


def table(rows: Sequence[Row], name: str, kind: str = "found") -> str:
    """As Markdown: median and quartiles of the share of the true front; p beside our searcher."""
    pairs = {searcher: pairs_of(rows, name, searcher) for searcher in SEARCHERS}
    there = {searcher: pair for searcher, pair in pairs.items() if pair[0]}
    longest = max(row["trials"] for found, _ in there.values() for row in found.values())
    budgets = [str(one) for one in BUDGETS if one <= longest]
    lines = [
        f"| searcher | searches | {' | '.join(budgets)} |",
        "|---|--:|" + "---|" * len(budgets),
    ]
    for searcher, (found, ours) in there.items():
        cells = [cell(found, ours, kind, budget) for budget in budgets]
        lines.append(f"| {searcher} | {len(found)} | {' | '.join(cells)} |")
    most = ceiling(name, [int(one) for one in budgets])[kind]
    reached = [f"{np.median(most[int(one)]):.3f}" for one in budgets]
    return "\n".join([*lines, f"| *ceiling* | | {' | '.join(reached)} |"])


def by_seed(rows: Sequence[Row], name: str, searcher: str) -> Searches:
    """The longest search of each seed."""
    mine = [row for row in rows if (row["table"], row["searcher"]) == (name, searcher)]
    return {row["seed"]: row for row in sorted(mine, key=lambda row: row["trials"])}


def cell(found: Searches, ours: Searches, kind: str, budget: str) -> str:
    """Median and quartiles; how ours fares against it in the same seeds, if it is another."""
    values = [row[kind][budget] for row in found.values() if budget in row[kind]]
    if not values:
        return ""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    words = f"{middle:.3f} ({low:.3f}–{high:.3f})"
    better = compared(found, ours, kind, budget)
    return words if better is None else f"{words}, {better[0]:+.3f}, p {better[1]:.2g}"


def compared(found: Searches, ours: Searches, kind: str, budget: str) -> tuple[float, float] | None:
    """By how much ours is ahead in the median of the pairs, and p of Wilcoxon's two-sided test."""
    pairs = [
        (ours[seed][kind][budget], row[kind][budget])
        for seed, row in found.items()
        if seed in ours and budget in row[kind] and budget in ours[seed][kind]
    ]
    ahead = np.array([mine - other for mine, other in pairs])
    if len(pairs) < FEWEST or not ahead.any():
        return None
    return float(np.median(ahead)), float(wilcoxon(ahead).pvalue)


def verdict(rows: Sequence[Row]) -> str:
    """Where ours is ahead or behind beyond chance, with and without a trained network to ask."""
    return " ".join(verdict_on(rows, ours) for ours in (OURS, FORESEEN))


def verdict_on(rows: Sequence[Row], ours: str) -> str:
    """One test for each table, searcher and budget."""
    told = {
        (searcher, name, budget): better
        for name in tables_of(rows)
        for searcher in SEARCHERS
        if not searcher.startswith(OURS)  # with another option it is ours as well
        for budget in map(str, BUDGETS)
        if (better := compared(*pairs_of(rows, name, searcher, ours), "found", budget)) is not None
    }
    sure = {key: ahead for key, (ahead, p) in told.items() if p < SIGNIFICANT}
    behind = [f"{one} ({of}, {at} trials)" for (one, of, at), ahead in sure.items() if ahead < 0]
    words = f"`{ours}` is ahead in {len(sure) - len(behind)} of {len(told)} comparisons"
    return f"{words} (p < {SIGNIFICANT}) and behind {', '.join(behind) or 'in none'}."


def of_the_ceiling(
    rows: Sequence[Row], name: str, budget: int = 40, searcher: str = OURS
) -> tuple[float, float]:
    """What ours finds and what it shows of what the true ranking would, medians."""
    ours = by_seed(rows, name, searcher).values()
    most = ceiling(name, (budget,))
    shares = [
        float(np.median([row[kind][str(budget)] for row in ours]) / np.median(most[kind][budget]))
        for kind in ("found", "shown")
    ]
    return shares[0], shares[1]


def tables_of(rows: Sequence[Row]) -> list[str]:
    """The tables that were searched."""
    return list(dict.fromkeys(row["table"] for row in rows))


def pairs_of(
    rows: Sequence[Row], name: str, searcher: str, ours: str = OURS
) -> tuple[Searches, Searches]:
    """The searches of another searcher and ours; of ours itself there is nothing to compare."""
    return by_seed(rows, name, searcher), by_seed(rows, name, ours) if searcher != ours else {}


if __name__ == "__main__":
    main()
