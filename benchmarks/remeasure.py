"""Is the front real? Measure the plans of a finished search again, with seeds it never used.

    python benchmarks/remeasure.py STUDY [--storage URL] [--seeds 16] [--processes 2]

Every finished plan is trained again under the conditions of the study, on the same split, with
fresh seeds; the Spearman rank correlation between the search's mean accuracies and the new ones
says how far the search could tell its plans apart. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import make_config
from isoshare.search.results.study_results import load_results
from isoshare.search.workflows.preparation.evaluator import load_data, training_settings
from isoshare.space.plan import SharingPlan
from isoshare.storage.opening.database import default_url
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store

FRESH = 1_000_000  # far from the seeds of any search


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--storage", default=default_url())
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    results = load_results(Store(options.storage), options.study)
    study, plans = results.study, [trial.plan for trial in results.finished]
    work = partial(measure, study, range(FRESH, FRESH + options.seeds))
    with ProcessPoolExecutor(options.processes, initializer=use_threads, initargs=(1,)) as pool:
        again = list(
            track(
                pool.map(work, plans),
                "measuring again",
                total=len(plans),
                console=Console(stderr=True),
            )
        )
    before = np.array([trial.value("accuracy") for trial in results.finished])
    print(json.dumps(report(study, before, np.array(again), options.seeds), indent=2))


def measure(study: StudyRecord, seeds: range, plan: SharingPlan) -> float:
    """The mean validation accuracy of a plan over fresh seeds."""
    config = make_config(study.config.options)
    evaluator = TrainingEvaluator(
        config.backbone,
        config.backbone_arg,
        load_data(config.data),
        training_settings(config.training),
    )
    batches = evaluator(plan, seeds, "validation")
    return fmean(one.values["accuracy"] for batch in batches for one in batch)


def report(
    study: StudyRecord, before: np.ndarray, again: np.ndarray, seeds: int
) -> dict[str, object]:
    """The correlation with a 95 % interval from 2,000 bootstrap samples over the plans."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(before), (2000, len(before)))
    samples = [spearmanr(before[d], again[d]).statistic for d in draws]
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return {
        "study": study.name,
        "plans": len(before),
        "seeds of the search": study.config.replicates,
        "fresh seeds": seeds,
        "spearman": round(float(spearmanr(before, again).statistic), 3),
        "95 % interval": [round(float(low), 3), round(float(high), 3)],
        "accuracy of the search": [round(float(before.min()), 3), round(float(before.max()), 3)],
        "accuracy again": [round(float(again.min()), 3), round(float(again.max()), 3)],
        "backbone": asdict(study.context.backbone),
        "epochs": study.config.epochs,
        "versions": dict(study.context.versions),
    }


if __name__ == "__main__":
    main()
