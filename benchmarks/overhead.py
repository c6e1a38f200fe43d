"""What does a trial cost beside its training? Timed around an evaluator that returns at once.

    python benchmarks/overhead.py [--trials 2000] [--workers 2] [--rounds 3]

Four ways in one run, in turn, so that a noisy machine is noisy for all of them:

- isoshare: our engine, store and Ray Tune workers, each result committed to SQLite;
- isoshare, a worker killed: the same, one worker killed with SIGKILL after a sixth of the trials;
- optuna alone: a plain loop of ``study.ask`` and ``study.tell`` in memory, nothing stored;
- OptunaSearch: Ray Tune's own Optuna searcher with ``reuse_actors``.

Counted from the first result to the last, so that starting Ray is not part of it. For ours, "both
busy" is the share of trials after the kill that each worker did: with two workers 0.5 is even.
Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from isoshare.space.plan import Split

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import optuna
import ray
from optuna.samplers import BaseSampler, RandomSampler
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.search.config import make_config
from isoshare.search.drivers.ray_cluster import ray_cluster
from isoshare.search.drivers.ray_driver import run_on_ray
from isoshare.search.engine import Engine
from isoshare.search.samplers import sampler_row
from isoshare.search.samplers.optuna_sampler import OPTUNA_SAMPLERS, make_optuna_sampler
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord


class Immediate(Evaluator):
    """An evaluator without training; it tells which process it ran in."""

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """One accuracy a plan."""
        values = {"accuracy": int(plan.fingerprint, 16) / 16**16, "process": float(os.getpid())}
        yield [Measured(seed, values, 0.0) for seed in seeds]


def space() -> SearchSpace:
    """ResNet-56: 50 sites in three groups, far more plans than trials."""
    backbone = build_backbone("resnet_cifar", {"depth": 56})
    return SearchSpace(find_sites(backbone), count_parameters(backbone))


def isoshare(trials: int, workers: int, sampler: str, kill: bool) -> dict[str, Any]:
    """Our own engine and driver."""
    shared = space()
    config = make_config(
        {"trials": trials, "replicates": 1, "workers": workers, "sampler": sampler}
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/benchmark.db")
        data = DatasetRecord("none", "none")
        study = study_record("s", config, shared, data)
        store.create_study(study)
        engine = Engine(store, study, config, shared, sampler_row(config.sampler).make)
        watch = Watch(engine, store, trials // 6 if kill else None)
        engine.on_change = watch.changed
        with ray_cluster(workers):
            run_on_ray(engine, Immediate(), workers)
        report = watch.report(workers)
        store.close()
    return report


class Watch:
    """Takes the time of each result, and kills a worker once if it is told to."""

    def __init__(self, engine: Engine, store: Store, kill_after: int | None) -> None:
        self._engine, self._store, self._kill_after = engine, store, kill_after
        self._times: list[float] = []
        self._killed_at: int | None = None

    def changed(self) -> None:
        """Called by the engine after each change."""
        finished = self._engine.progress().finished
        if finished > len(self._times):
            self._times.append(time.perf_counter())
        if self._kill_after is not None and finished >= self._kill_after and not self._killed_at:
            process = self._process(self._store.trials("s")[0])
            os.kill(process, signal.SIGKILL)
            self._killed_at = finished

    def report(self, workers: int) -> dict[str, Any]:
        """Milliseconds a trial, and after a kill how even the workers did the rest."""
        spent = self._times[-1] - self._times[0]
        result: dict[str, Any] = {"ms_a_trial": round(1000 * spent / (len(self._times) - 1), 2)}
        if self._killed_at:
            last = self._store.trials("s")[-len(self._times) // 3 :]
            done = [self._process(trial) for trial in last]
            counts = Counter(done).most_common(workers)
            result["share of each worker in the last third"] = [
                round(count / len(done), 2) for _, count in counts
            ]
        return result

    @staticmethod
    def _process(trial: Any) -> int:
        return int(trial.measurements[0].values["process"])


def stock(name: str) -> BaseSampler:
    """The sampler of Optuna under our name for it; random search for those that are ours."""
    return make_optuna_sampler(name, 0) if name in OPTUNA_SAMPLERS else RandomSampler(0)


def optuna_alone(trials: int, sampler: str) -> dict[str, Any]:
    """Ask and tell in one process, nothing stored, plans repeated as they come."""
    shared = space()
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=stock(sampler))
    started = time.perf_counter()
    for _ in range(trials):
        trial = study.ask()
        plan = shared.suggest(trial)
        value = int(plan.fingerprint, 16) / 16**16
        study.tell(trial, [value, float(shared.trainable_parameters(plan))])
    return {"ms_a_trial": round(1000 * (time.perf_counter() - started) / trials, 2)}


class Counted(tune.Callback):
    """The time of each result of a Ray Tune run."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        """One trial has ended."""
        self.times.append(time.perf_counter())


class AtOnce(tune.Trainable):
    """A trainable that returns at once."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing to do."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Be reused."""
        return True

    def step(self) -> dict[str, Any]:
        """One result."""
        value = float(sum(map(len, self.config.values())) % 97)
        return {"accuracy": value, "parameters": value, "done": True}


SPACE = space()


def define(trial: optuna.Trial) -> None:
    """The search space as OptunaSearch wants it."""
    SPACE.suggest(trial)


def optuna_search(trials: int, workers: int, sampler: str) -> dict[str, Any]:
    """Ray Tune's own way: a Tune trial for each plan."""
    counted = Counted()
    search = OptunaSearch(
        define,
        metric=["accuracy", "parameters"],
        mode=["max", "min"],
        sampler=stock(sampler),
    )
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tune.Tuner(
                AtOnce,
                tune_config=tune.TuneConfig(
                    search_alg=search,
                    num_samples=trials,
                    max_concurrent_trials=workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    verbose=0,
                    callbacks=[counted],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
    finally:
        ray.shutdown()
    spent = counted.times[-1] - counted.times[0]
    return {"ms_a_trial": round(1000 * spent / (len(counted.times) - 1), 2)}


def main() -> None:
    """Run each way in turn, several rounds, and print the medians with all rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sampler", default="random")
    options = parser.parse_args()
    n, w, s = options.trials, options.workers, options.sampler
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "isoshare": lambda: isoshare(n, w, s, kill=False),
        "isoshare, a worker killed": lambda: isoshare(n, w, s, kill=True),
        "optuna alone": lambda: optuna_alone(n, s),
        "OptunaSearch": lambda: optuna_search(n, w, s),
    }
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for place in range(options.rounds):
        for name, way in ways.items():
            rounds[name].append(way())
            print(f"round {place + 1} {name}: {rounds[name][-1]}", file=sys.stderr)
    medians = {
        name: median(row["ms_a_trial"] for row in results) for name, results in rounds.items()
    }
    print(json.dumps({"options": vars(options), "median ms": medians, "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
