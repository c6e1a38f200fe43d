"""How long does a proposal take when a study has many trials?

    python benchmarks/ask.py [--trials 100,1000,10000] [--samplers ehvi,local,tpe] [--asks 20]

Fills a study of a CIFAR ResNet-20 and all methods, 3 x 10^11 plans, with random plans and made-up
accuracies, then asks and tells some more: milliseconds, median and largest. Front and hypervolume
of 100,000 measurements come with it. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.search.config import make_config
from isoshare.search.pareto import hypervolume, nondominated
from isoshare.search.proposals.proposer import Proposer
from isoshare.search.samplers import sampler_row
from isoshare.search.search_state import SearchState
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.storage.records import MeasurementRecord, TrialRecord
from isoshare.storage.study_values import DatasetRecord


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="100,1000,10000")
    parser.add_argument("--samplers", default="ehvi,local,tpe")
    parser.add_argument("--asks", type=int, default=20)
    options = parser.parse_args()
    network = build_backbone("resnet_cifar", {"depth": 20})
    space = SearchSpace(find_sites(network), count_parameters(network), tuple(METHODS))
    found = {
        sampler: {
            count: measure(space, sampler, int(count), options.asks)
            for count in options.trials.split(",")
            if sampler in ("ehvi", "random") or int(count) <= 1000
        }
        for sampler in options.samplers.split(",")
    }
    print(json.dumps({"plans": space.count(), **found, "front": front(100_000)}, indent=2))


def measure(space: SearchSpace, sampler: str, trials: int, asks: int) -> dict[str, float]:
    """Milliseconds of a proposal, and of taking its result, in a study of so many trials."""
    rng = random.Random(0)
    config = make_config({"backbone": "resnet_cifar", "sampler": sampler, "trials": 10**6})
    search_state = SearchState(study_record("s", config, space, DatasetRecord()), config)
    plans: dict[SharingPlan, None] = {}
    while len(plans) < trials:
        plans[space.random_plan(rng)] = None
    search_state.fill([finished(space, number, plan, rng) for number, plan in enumerate(plans)])
    history = search_state.history(space)
    chooser = sampler_row(sampler).make(history)
    proposer = Proposer(history, chooser)
    asked, told = [], []
    for number in range(trials, trials + asks):
        started = time.perf_counter()
        proposal = proposer.propose(number)
        assert proposal is not None, "the space has no end"
        memory = chooser.memory(proposal.plan)
        asked.append(time.perf_counter() - started)
        trial = replace(finished(space, number, proposal.plan, rng), proposal=memory)
        search_state.put(replace(trial, state="running", measurements=()))
        started = time.perf_counter()
        search_state.end(trial)
        chooser.tell(trial)
        told.append(time.perf_counter() - started)
    asked = asked[2:]  # the first ones meet every plan for the first time
    return {
        "ask": round(1000 * median(asked), 1),
        "slowest ask": round(1000 * max(asked), 1),
        "tell": round(1000 * median(told), 1),
    }


def finished(space: SearchSpace, number: int, plan: SharingPlan, rng: random.Random) -> TrialRecord:
    """A trial with an accuracy that falls with what is shared, and noise."""
    parameters = space.trainable_parameters(plan)
    accuracy = 0.9 + 0.03 * np.log(parameters / space.unshared) + rng.gauss(0, 0.01)
    return TrialRecord(
        number=number,
        plan=plan,
        origin="sampler",
        state="finished",
        exact={"parameters": float(parameters)},
        proposal={"params": space.parameters(plan), "system_attrs": {}},
        measurements=(
            MeasurementRecord(0, "validation", {"epochs": 15}, {"accuracy": accuracy}, 1.0),
        ),
    )


def front(count: int) -> dict[str, float]:
    """Milliseconds for the front and the hypervolume of so many measurements."""
    points = np.random.default_rng(0).random((count, 2))
    started = time.perf_counter()
    nondominated(points)
    hypervolume(points, [1.0, 1.0])
    return {"measurements": count, "milliseconds": 1000 * (time.perf_counter() - started)}


if __name__ == "__main__":
    main()
