"""What comes of jobs, as it comes, and how the engine takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.search.jobs import Job
from isoshare.space.errors import failure_in_words

if TYPE_CHECKING:
    from isoshare.search.engine import Engine


@dataclass(frozen=True)
class Result:
    """Of a job: what is ready of it, or why it failed."""

    number: int
    measured: Sequence[Measured] = ()
    failure: str = ""


def results_of(jobs: Sequence[Job], measure: Evaluator) -> Iterator[Result]:
    """Results of jobs until all are done.

    Jobs that can be are measured side by side. Where that fails, each is measured alone, and says
    for itself what is wrong with it.
    """
    done: set[int] = set()
    with suppress(Exception):
        for several in _together(jobs, measure):
            for number, measured in several.items():
                yield Result(number, measured)
                if measured[-1].epochs is None:
                    done.add(number)
    for job in jobs:
        if job.number not in done:
            yield from _alone(job, measure.for_trial(job.number))


def take(engine: Engine, result: Result) -> bool:
    """Tell the engine; returns whether the job is over now."""
    if result.failure:
        engine.fail(result.number, result.failure)
        return True
    return engine.tell(result.number, result.measured)


def _together(jobs: Sequence[Job], measure: Evaluator) -> Iterator[dict[int, list[Measured]]]:
    """By number, of those that are alike in all but their plans."""
    alike = [job for job in jobs if job.joins(jobs[0])]
    if len(alike) > 1:
        plans = [job.plan for job in alike]
        for several in measure.together(plans, jobs[0].seeds, jobs[0].split):
            yield {alike[place].number: measured for place, measured in several.items()}


def _alone(job: Job, measure: Evaluator) -> Iterator[Result]:
    left = set(job.seeds)
    try:
        for measured in measure(job.plan, job.seeds, job.split, job.rungs):
            left -= {one.seed for one in measured if one.epochs is None}
            yield Result(job.number, measured)
        if left:
            yield Result(job.number, failure="the evaluator gave no result")
    except Exception as error:  # a plan's failure must take nothing else along
        yield Result(job.number, failure=failure_in_words(error))
