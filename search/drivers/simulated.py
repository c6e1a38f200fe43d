"""Run jobs on workers that exist only in time: each measurement takes the seconds it says it took.

With a table of ShareBench a search of hours is over in seconds, and meets samplers, rungs and
repeats as a search on Ray does: in the order in which results would have come in.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.search.engine import Engine
from isoshare.search.jobs import Job


@dataclass(order=True)
class _Step:
    """What a worker will have at a point of time. number: breaks ties by age."""

    time: float
    number: int
    job: Job = field(compare=False)
    measured: list[Measured] = field(compare=False)
    rest: Iterator[list[Measured]] = field(compare=False)


def run_simulated(engine: Engine, measure: Evaluator, workers: int) -> float:
    """Run jobs until the engine has none left; returns the simulated seconds that took."""
    steps: list[_Step] = []
    now, number = 0.0, 0
    while True:
        while len(steps) < workers and (job := engine.ask()) is not None:
            number += 1
            rest = iter(measure(job.plan, job.seeds, job.split, job.rungs))
            heapq.heappush(steps, _after(now, number, job, rest))
        if not steps:
            return now
        step = heapq.heappop(steps)
        now = step.time
        if not engine.tell(step.job.number, step.measured):
            heapq.heappush(steps, _after(now, step.number, step.job, step.rest))


def _after(now: float, number: int, job: Job, rest: Iterator[list[Measured]]) -> _Step:
    measured = next(rest)
    return _Step(now + sum(one.seconds for one in measured), number, job, measured, rest)
