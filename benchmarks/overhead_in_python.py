"""What does a trial of ``study.optimize`` cost beside its training, and one of Optuna's own?

    python benchmarks/overhead_in_python.py [--trials 1000] [--rounds 3] [--sampler random]

A function that returns at once, on the space of a ResNet-20, one trial after another in this
process. Four ways in one run, in turn, so that a noisy machine is noisy for all of them:

- isoshare, in memory and in SQLite: ``evaluate`` is handed the network of the plan, as always;
- optuna, with the network: Optuna's ``study.optimize`` in memory, whose objective draws a plan of
  the same space and makes the same network of it, as whoever trains it has to;
- optuna, plans alone: the same without a network.

Prints JSON: milliseconds a trial, of the clock and of the processor; median and all rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import optuna
import torch

import isoshare
from isoshare.evaluators.network_source import NetworkSource
from isoshare.search.samplers.optuna_sampler import OPTUNA_SAMPLERS, make_optuna_sampler
from isoshare.space.backbones import build_backbone

MODEL = partial(build_backbone, "resnet_cifar", {"depth": 20})
SPACE = isoshare.SearchSpace(isoshare.find_sites(MODEL()), isoshare.count_parameters(MODEL()))


def value_of(plan: isoshare.SharingPlan) -> float:
    """A number that the plan decides."""
    return int(plan.fingerprint, 16) / 16**16


def ours(trials: int, sampler: str, stored: bool) -> Callable[[], object]:
    """A new study, ready to run."""
    folder = tempfile.mkdtemp()
    url = f"sqlite:///{folder}/benchmark.db" if stored else None
    study = isoshare.create_study(MODEL(), "s", sampler=sampler, storage=url, weights="fresh")
    return lambda: study.optimize(
        lambda _, trial: value_of(trial.plan), n_trials=trials, show_progress_bar=False
    )


def optunas(trials: int, sampler: str, with_network: bool) -> Callable[[], object]:
    """The same search by Optuna alone."""
    own = make_optuna_sampler(sampler, 0) if sampler in OPTUNA_SAMPLERS else None
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=own or optuna.samplers.RandomSampler(0)
    )
    source = NetworkSource(MODEL(), "fresh")

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        plan = SPACE.suggest(trial)
        if with_network:
            source.network(plan, 0)
        return value_of(plan), float(SPACE.trainable_parameters(plan))

    return lambda: study.optimize(objective, n_trials=trials)


def timed(run: Callable[[], object], trials: int) -> dict[str, float]:
    """Milliseconds a trial."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return {
        name: round(1000 * one / trials, 2) for name, one in zip(("ms", "cpu"), spent, strict=True)
    }


def main() -> None:
    """Each way in turn, several rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sampler", default="random")
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    n, s = options.trials, options.sampler
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "isoshare, in memory": lambda: ours(n, s, stored=False),
        "isoshare, in SQLite": lambda: ours(n, s, stored=True),
        "optuna, with the network": lambda: optunas(n, s, with_network=True),
        "optuna, plans alone": lambda: optunas(n, s, with_network=False),
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for place in range(options.rounds):
        for name, make in ways.items():
            rounds[name].append(timed(make(), n))
            print(f"round {place + 1} {name}: {rounds[name][-1]}", file=sys.stderr)
    medians: dict[str, Any] = {
        name: {unit: median(row[unit] for row in rows) for unit in ("ms", "cpu")}
        for name, rows in rounds.items()
    }
    print(json.dumps({"options": vars(options), "median": medians, "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
