"""What the engine hands out, and what it shows of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import SearchConfig
from isoshare.search.pareto import Front
from isoshare.search.proposals.foresight import SOLVED
from isoshare.space.plan import SharingPlan, Split
from isoshare.storage.records import MeasurementRecord, TrialRecord

SEARCHED = ("sampler", "random", "walk", SOLVED)
"""Origins of trials that may be stopped early; the others are warm starts."""


class DriverError(Exception):
    """The workers cannot do their work: nothing is wrong with the request or with a plan."""


@dataclass(frozen=True)
class Job:
    """One plan for a worker: train it once for each seed, and measure on ``split``; rungs: epochs
    after which to measure on the way.
    """

    number: int
    plan: SharingPlan
    seeds: tuple[int, ...]
    split: Split
    rungs: tuple[int, ...] = ()

    @property
    def can_join(self) -> bool:
        """Whether it may be measured beside others: then none of them is stopped or tested."""
        return self.split == "validation" and not self.rungs

    def joins(self, other: Job) -> bool:
        """Whether both can be measured side by side, as far as jobs go."""
        return self.can_join and other.can_join and self.seeds == other.seeds


def job_for(config: SearchConfig, trial: TrialRecord, split: Split = "validation") -> Job:
    """What is left to measure of a trial on ``split``: the seeds that it does not have yet."""
    made = [one for one in trial.measurements if one.split == split]
    done = {one.seed for one in made if one.fidelity["epochs"] == config.epochs}
    seeds = range(config.seed, config.seed + config.replicates)
    left = tuple(seed for seed in seeds if seed not in done)
    rungs = config.rungs if split == "validation" and not done else ()
    return Job(trial.number, trial.plan, left, split, rungs)


def measurement_records(
    config: SearchConfig, job: Job, measured: Sequence[Measured], conditions: Mapping[str, Any]
) -> tuple[MeasurementRecord, ...]:
    """What a worker measured for a job, as it is stored; conditions: of all measurements."""
    return tuple(
        MeasurementRecord(
            seed=one.seed,
            split=job.split,
            fidelity={"epochs": one.epochs or config.epochs},
            values=one.values,
            seconds=one.seconds,
            conditions={**conditions, **one.conditions},
        )
        for one in measured
    )


@dataclass(frozen=True)
class Progress:
    """Where a search stands. ``tests`` counts trainings that are measured on the test images.

    repeats: measurements of plans that had one; remaining: what may still be gained, as a share of
    the hypervolume, None if the sampler cannot tell.
    """

    budget: int
    finished: int
    failed: int
    stopped: int
    repeats: int
    running: int
    remaining: float | None
    front: Front
    tests: int
    tests_done: int
