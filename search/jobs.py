"""What the engine hands out, and what it shows of itself."""

from __future__ import annotations

from dataclasses import dataclass

from isoshare.search.pareto import Front
from isoshare.space.plan import SharingPlan, Split

SEARCHED = ("sampler", "random", "walk")
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
