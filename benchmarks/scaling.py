"""Where does a search stop growing with its workers?

    python benchmarks/scaling.py workers [--counts 1,2] [--trials 40] [--rounds 3]
    python benchmarks/scaling.py simulate [--sampler random] [--trials 100000] [--storage URL]

``workers``: real searches on digits (ResNet-8 of width 4, 3 epochs, 2 seeds), the same plans for
every number of workers, in turn. Trials an hour from the first result to the last, and who used
the processor meanwhile: the driver, the workers, Ray's own processes.

``simulate``: 1,000 workers that exist only in time, the real engine, the real database, no
training; the space of a ResNet-20 and all methods. Milliseconds of the processor a trial as the
study grows, and what takes them: the proposal, the database, the rest of the engine. ``trials an
hour`` is what one driver can hand out and take back; trainings that are longer than ``shortest
training`` leave it idle at times, shorter ones leave workers waiting. Ray's messages are not in it
(benchmarks/overhead.py). Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from isoshare.space.plan import Split

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.search.config import make_config
from isoshare.search.drivers.ray_cluster import ray_cluster
from isoshare.search.drivers.ray_driver import run_on_ray
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.engine import Engine
from isoshare.search.samplers import sampler_row
from isoshare.search.workflows.launch import prepare, start
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord

SMALL: dict[str, Any] = {
    "backbone": "resnet_cifar",
    "backbone_arg": {"depth": 8, "width": 4},
    "epochs": 3,
    "replicates": 2,
}


Seconds = dict[str, float]


def processor_seconds() -> Seconds:
    """What the driver, which is this process, the workers and Ray's processes have used."""
    used: Counter[str] = Counter()
    parents, names, ticks = {}, {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            head, _, rest = stat.read_text().rpartition(")")
            number, fields = int(head.split()[0]), rest.split()
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
            names[number] = head.partition("(")[2]
    for number, spent in ticks.items():
        ancestor = number
        while ancestor not in (os.getpid(), 0):
            ancestor = parents.get(ancestor, 0)
        if ancestor:
            is_worker = names[number].startswith("ray::Worker")
            who = "driver" if number == os.getpid() else "workers" if is_worker else "ray"
            used[who] += spent
    return {who: spent / os.sysconf("SC_CLK_TCK") for who, spent in used.items()}


@dataclass
class Watch:
    """Looks at clock and processors at the first result of a search and at its last trial."""

    engine: Engine
    trials: int
    looks: list[tuple[int, float, Seconds]] = field(default_factory=list)

    def changed(self) -> None:
        """Called by the engine after each change."""
        finished = self.engine.search_state.count("finished")
        if finished and finished in (1, self.trials) and finished > self._last:
            self.looks.append((finished, time.perf_counter(), processor_seconds()))

    @property
    def _last(self) -> int:
        return self.looks[-1][0] if self.looks else 0

    def report(self) -> dict[str, float]:
        """Trials an hour, and processor milliseconds a trial."""
        (_, begun, before), (last, ended, after) = self.looks
        done, used = last - 1, {who: after[who] - before.get(who, 0) for who in after}
        return {
            "trials an hour": round(3600 * done / (ended - begun)),
            **{f"{who}, ms a trial": round(1000 * used[who] / done, 1) for who in used},
            "driver's share of the processor": round(used["driver"] / sum(used.values()), 4),
            "driver's share of the clock": round(used["driver"] / (ended - begun), 4),
        }


def real_search(workers: int, trials: int, sampler: str) -> dict[str, float]:
    """One search on digits."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/benchmark.db")
        asked = {"study": "s", "trials": trials, "workers": workers, "sampler": sampler}
        prepared = prepare(make_config({**SMALL, **asked}), store)
        engine = start(prepared, store)
        watch = Watch(engine, trials)
        engine.on_change = watch.changed
        with ray_cluster(workers):
            run_on_ray(engine, prepared.evaluator, workers)
        store.close()
    return watch.report()


def compare_workers(asked: argparse.Namespace) -> dict[str, Any]:
    """All numbers of workers in turn, some rounds; medians, and all rounds."""
    counts = [int(count) for count in asked.counts.split(",")]
    rounds: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for place in range(asked.rounds):
        for count in counts:
            rounds[count].append(real_search(count, asked.trials, asked.sampler))
            print(f"round {place + 1}, {count} workers: {rounds[count][-1]}", file=sys.stderr)
    medians = {
        count: {name: median(row[name] for row in rows) for name in rows[0]}
        for count, rows in rounds.items()
    }
    return {"medians": medians, "rounds": rounds}


class Made(Evaluator):
    """An evaluator that makes up an accuracy, and seconds that it would have taken."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """The accuracy falls with what is shared."""
        rng = random.Random(f"{plan.fingerprint} {split}")
        size = self._space.trainable_parameters(plan) / self._space.unshared
        values = {"accuracy": float(0.9 + 0.03 * np.log(size) + rng.gauss(0, 0.01))}
        yield [Measured(seed, values, rng.uniform(300, 900)) for seed in seeds]


class Stopwatch:
    """Seconds of the processor spent within functions, by name: others use the machine too."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def watch(self, thing: object, function: str, name: str) -> None:
        """Count the seconds of a method of ``thing`` from now on."""
        inner: Callable[..., Any] = getattr(thing, function)

        def timed(*given: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return inner(*given, **named)
            finally:
                self.seconds[name] += time.process_time() - started

        setattr(thing, function, timed)


class Growth:
    """A row for each segment of a growing study."""

    def __init__(self, engine: Engine, store: Store, workers: int, segment: int) -> None:
        self.rows: list[dict[str, float]] = []
        self._engine, self._workers, self._segment = engine, workers, segment
        self._watch = watch = Stopwatch()
        watch.watch(engine, "ask", "engine")
        watch.watch(engine, "tell", "engine")
        watch.watch(engine._sampling._proposer, "propose", "proposal")
        watch.watch(engine._sampling._sampler, "memory", "proposal")
        watch.watch(engine._sampling._sampler, "tell", "proposal")
        watch.watch(engine._sampling._sampler, "remaining", "proposal")
        watch.watch(store._database, "write", "database")  # studies
        watch.watch(store._database, "write_rows", "database")  # trials
        self._processor = time.process_time()

    def changed(self) -> None:
        """Called by the engine after each change."""
        finished = self._engine.search_state.count("finished")
        if finished >= self._segment * (len(self.rows) + 1):
            spent, processor = self._watch.seconds, time.process_time()
            per_trial = {name: 1000 * seconds / self._segment for name, seconds in spent.items()}
            per_trial["engine"] -= per_trial["proposal"] + per_trial["database"]
            total = sum(per_trial.values()) / 1000
            self.rows.append(
                {
                    "trials": finished,
                    **{f"{name}, ms": round(value, 2) for name, value in per_trial.items()},
                    "processor, ms": round(1000 * (processor - self._processor) / self._segment, 2),
                    "trials an hour": round(3600 / total),
                    "shortest training, s": round(self._workers * total, 1),
                }
            )
            print(self.rows[-1], file=sys.stderr, flush=True)
            self._watch.seconds.clear()
            self._processor = processor


def simulate(asked: argparse.Namespace) -> dict[str, Any]:
    """A search without training from its first trial to its last."""
    network = build_backbone("resnet_cifar", {"depth": 20})
    space = SearchSpace(find_sites(network), count_parameters(network), tuple(METHODS))
    options = {"trials": asked.trials, "workers": asked.workers, "sampler": asked.sampler}
    config = make_config({"backbone": "resnet_cifar", "replicates": 1, **options})
    with tempfile.TemporaryDirectory() as folder:
        store = Store(asked.storage or f"sqlite:///{folder}/benchmark.db")
        study = study_record("s", config, space, DatasetRecord("none", "0" * 16))
        store.create_study(study)
        store.take_lease("s")
        engine = Engine(store, study, config, space, sampler_row(config.sampler).make)
        growth = Growth(engine, store, asked.workers, asked.segment)
        engine.on_change = growth.changed
        seconds = run_simulated(engine, Made(space), asked.workers)
        started = time.perf_counter()
        Engine(store, study, config, space, sampler_row(config.sampler).make)
        resumed = time.perf_counter() - started
        store.delete_study("s")
        store.close()
    return {
        "growth": growth.rows,
        "simulated days": round(seconds / 86_400, 1),
        "seconds until a resumed search asks": round(resumed, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("workers", "simulate"))
    parser.add_argument("--counts", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--segment", type=int, default=10_000)
    parser.add_argument("--storage", default="")
    asked = parser.parse_args()
    real = asked.what == "workers"
    asked.trials = asked.trials or (40 if real else 100_000)
    found = compare_workers(asked) if real else simulate(asked)
    print(json.dumps({"options": vars(asked), **found}, indent=1))


if __name__ == "__main__":
    main()
