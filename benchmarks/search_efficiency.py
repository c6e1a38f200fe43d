"""Which sampler finds the best front for the fewest trials? Every sampler on a table of ShareBench.

    python benchmarks/search_efficiency.py [--table sharebench-digits] [--seeds 30] [--trials 200]
        [--samplers ehvi,tpe,...] [--processes 2] [--out DIR]

A search sees one seed a trial, drawn from the table for each plan and search. After each trial its
front, chosen by what it has measured, is scored by what is true: the mean over the table's seeds.
The score is the hypervolume in log-parameters and validation accuracy up to the reference point in
the table. Beside it stands the ceiling: what a search would reach that knew the true ranking and
saw one seed a plan (benchmarks/truth.py). Every finished search is kept in --out, and a second call
goes on from there. Prints medians, quartiles and paired Wilcoxon tests as JSON; --png draws them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import wilcoxon

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.truth import Numbers, Point, ceiling, score, true_front, truth_of
from isoshare.evaluators.training.batches import use_threads
from isoshare.search.config import make_config
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.engine import Engine
from isoshare.search.workflows.launch import prepare, start
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store

BUDGETS = (10, 20, 40, 60, 80, 100, 150, 200)
VARIANTS: dict[str, dict[str, Any]] = {
    "ehvi": {"sampler": "ehvi"},
    "ehvi, solved first": {"sampler": "ehvi"},
    "ehvi, repeats": {"sampler": "ehvi", "repeats": 0.2},
    "ehvi, rungs": {"sampler": "ehvi", "rungs": (2, 4)},
    "local": {"sampler": "local"},
    "random": {"sampler": "random"},
    "nsga2": {"sampler": "nsga2"},
    "tpe": {"sampler": "tpe"},
    "gp": {"sampler": "gp"},
}
OURS = "ehvi"
SOLVED_FIRST = "ehvi, solved first"
SCORES = Path(__file__).parent / "results" / "table_scores.json"
STOCK = ("random", "nsga2", "tpe", "gp")


def main() -> None:
    """Run what is missing and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="sharebench-digits")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--samplers", default=",".join(VARIANTS).replace(", ", "+"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("isoshare-out/search-efficiency"))
    parser.add_argument("--png", type=Path)
    options = parser.parse_args()
    names = [name.replace("+", ", ") for name in options.samplers.split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [
        (options.table, name, seed, options.trials, options.workers, options.out)
        for seed in range(options.seeds)
        for name in names
    ]
    left = [job for job in jobs if not file_of(job).exists()]
    with multiprocessing.Pool(options.processes, use_threads, (1,)) as pool:
        done = pool.imap_unordered(run, left)
        for _ in track(done, "searching", total=len(left), console=Console(stderr=True)):
            pass
    curves = {name: load([job for job in jobs if job[1] == name]) for name in names}
    truth, whole = true_front(options.table)
    told = {"ceiling": limits(options.table, options.trials), **summary(curves, truth, whole)}
    print(json.dumps(told, indent=2))
    if options.png:
        draw(curves, truth, options.png)


Job = tuple[str, str, int, int, int, Path]


def file_of(job: Job) -> Path:
    """Where a finished search is kept."""
    table, name, seed, trials, workers, out = job
    return out / f"{Path(table).stem}-{name.replace(', ', '-')}-{trials}-{workers}-{seed}.json"


def run(job: Job) -> None:
    """One search: after each measurement its epochs so far and the score of its front."""
    table, name, seed, trials, workers, _ = job
    options = {**VARIANTS[name], "trials": trials, "seed": seed, "workers": workers}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/study.db")
        prepared = prepare(make_config({"table": table, **options}), store)
        if name == SOLVED_FIRST:
            prepared = with_scores(prepared, table)
        engine = start(prepared, store)
        watch = Watch(engine, table)
        engine.on_change = watch.look
        run_simulated(engine, prepared.evaluator, workers)
        watch.finish(store, prepared.study.name)
        store.close()
    file_of(job).write_text(json.dumps(watch.seen))


def with_scores(prepared: Prepared, table: str) -> Prepared:
    """The search as if it had trained weights, with the scores that benchmarks/solve.py keeps."""
    study = prepared.study
    context = replace(study.context, scores=json.loads(SCORES.read_text())[table])
    return replace(prepared, study=replace(study, context=context))


class Watch:
    """Scores the front of a running search whenever a measurement has come in."""

    def __init__(self, engine: Engine, table: str) -> None:
        self._engine = engine
        self._truth, self._reference = truth_of(table)
        self._measured: dict[str, Point] = {}
        self.seen: dict[str, Any] = {"found": [], "shown": [], "now": [], "remaining": []}

    def look(self) -> None:
        """Something has changed."""
        progress = self._engine.progress()
        done = progress.finished + progress.failed + progress.stopped + progress.repeats
        for _ in range(done - len(self.seen["found"])):
            front, trials = progress.front.members, self._engine.search_state.trials.values()
            ended = [trial for trial in trials if trial.state in ("finished", "stopped")]
            measured = [(fmean(one.samples("accuracy")), one.exact["parameters"]) for one in front]
            self.seen["found"].append(self._score(ended))
            self.seen["shown"].append(self._score(front))
            # The bound is in units of the study, whose reference is no accuracy at all.
            self.seen["now"].append(score(measured, (0.0, self._reference[1])))
            self.seen["remaining"].append(progress.remaining)

    def _score(self, trials: Iterable[TrialRecord]) -> float:
        """What the plans of some trials are truly worth."""
        return score([self._truth[one.plan.fingerprint] for one in trials], self._reference)

    def finish(self, store: Store, study: str) -> None:
        """Count the epochs that each trial took, in the order of the trials."""
        epochs = [
            sum(
                max(m.fidelity["epochs"] for m in trial.measurements if m.seed == seed)
                for seed in {m.seed for m in trial.measurements if m.split == "validation"}
            )
            for trial in store.trials(study)
        ]
        self.seen["epochs"] = epochs


def load(jobs: list[Job]) -> list[dict[str, Any]]:
    """The searches of one sampler, by seed."""
    return [json.loads(file_of(job).read_text()) for job in jobs]


def at(curve: list[dict[str, Any]], trials: int, kind: str = "found") -> Numbers:
    """The scores after so many trials, one a seed."""
    return np.array([one[kind][min(trials, len(one[kind])) - 1] for one in curve])


def summary(curves: dict[str, list[dict[str, Any]]], truth: float, whole: float) -> dict[str, Any]:
    """Shares of the true front's hypervolume; who is better, tested in pairs of seeds."""
    found: dict[str, Any] = {}
    longest = {name: len(curve[0]["found"]) for name, curve in curves.items()}
    for name, curve in curves.items():
        budgets = [budget for budget in BUDGETS if budget <= longest[name]]
        found[name] = {
            str(budget): np.quantile(at(curve, budget) / truth, QUARTILES).round(4).tolist()
            for budget in budgets
        }
        found[name]["shown"] = {
            str(budget): np.quantile(at(curve, budget, "shown") / truth, QUARTILES)
            .round(4)
            .tolist()
            for budget in budgets
        }
        if name != OURS and OURS in curves:
            found[name]["ours better"] = {str(b): paired(curves[OURS], curve, b) for b in budgets}
    return {
        "seeds": len(next(iter(curves.values()))),
        "true front": truth,
        "samplers": found,
        "reached": reached(curves),
        "bound covers": coverage(curves[OURS], whole),
    }


def limits(table: str, trials: int) -> dict[str, Any]:
    """What the true ranking is worth by budget, quartiles: found, and shown after one seed each."""
    reached = ceiling(table, [budget for budget in BUDGETS if budget <= trials])
    return {
        kind: {str(b): np.quantile(all_, QUARTILES).round(4).tolist() for b, all_ in by.items()}
        for kind, by in reached.items()
    }


def reached(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Trials after which each sampler has what the best stock sampler has at its end, and epochs
    after which it has 99 % of that, in quartiles over the seeds. A search that does not get there
    counts as one trial more than it had; epochs are all that its trials took until then or later.
    """
    ends = {
        name: float(np.median(at(curve, len(curve[0]["found"]))))
        for name, curve in curves.items()
        if name in STOCK
    }
    goal = max(ends.values(), default=0.0)
    found: dict[str, Any] = {"goal of": max(ends, key=lambda name: ends[name], default="")}
    for name, curve in curves.items():
        first = [first_at(one, goal) for one in curve]
        almost = [sum(one["epochs"][: first_at(one, 0.99 * goal)]) for one in curve]
        found[name] = {
            "trials": np.quantile(first, QUARTILES).tolist(),
            "epochs to 99 %": np.quantile(almost, QUARTILES).tolist(),
        }
    return found


def first_at(one: dict[str, Any], goal: float) -> int:
    """After how many trials a search has a score; one trial more than it had if it never has."""
    return int(np.argmax(np.append(one["found"], np.inf) >= goal)) + 1


def coverage(curve: list[dict[str, Any]], whole: float) -> dict[str, float]:
    """In which share of the searches the true front lies within the bound."""
    found = {}
    for budget in BUDGETS:
        told = [
            one["now"][budget - 1] * (1 + one["remaining"][budget - 1]) >= whole
            for one in curve
            if budget <= len(one["found"]) and one["remaining"][budget - 1] is not None
        ]
        if told:
            found[str(budget)] = float(np.mean(told))
    return found


QUARTILES = (0.25, 0.5, 0.75)


def paired(ours: list[dict[str, Any]], other: list[dict[str, Any]], budget: int) -> list[float]:
    """In how many seeds ours is better, and the p-value of Wilcoxon's two-sided test."""
    difference = at(ours, budget) - at(other, budget)
    p = 1.0 if np.allclose(difference, 0) else float(wilcoxon(difference).pvalue)
    return [float((difference > 0).mean()), round(p, 5)]


def draw(curves: dict[str, list[dict[str, Any]]], truth: float, path: Path) -> None:
    """Median and quartiles over the trials."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        length = min(len(one["found"]) for one in curve)
        scores = np.array([one["found"][:length] for one in curve]) / truth
        low, middle, high = np.quantile(scores, QUARTILES, axis=0)
        (line,) = axes.plot(range(1, length + 1), middle, label=name)
        axes.fill_between(range(1, length + 1), low, high, alpha=0.15, color=line.get_color())
    axes.set(xlabel="trials", ylabel="hypervolume, share of the true front", ylim=(0.5, 1.0))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
