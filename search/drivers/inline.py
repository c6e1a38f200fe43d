"""Run jobs one after another in this process: no workers, and the least a driver has to do."""

from __future__ import annotations

from isoshare.evaluators.evaluator import Evaluator
from isoshare.search.engine import Engine
from isoshare.search.jobs import Job
from isoshare.space.errors import failure_in_words


def run_inline(engine: Engine, measure: Evaluator) -> None:
    """Run jobs until the engine has none left. A plan that raises is recorded as failed."""
    while (job := engine.ask()) is not None:
        failure = _run(engine, measure.for_trial(job.number), job)
        if failure is not None:
            engine.fail(job.number, failure_in_words(failure))


def _run(engine: Engine, measure: Evaluator, job: Job) -> Exception | None:
    """One job; what its evaluator raised, if it did."""
    steps = iter(measure(job.plan, job.seeds, job.split, job.rungs))
    while True:
        try:
            measured = next(steps, None)
        except Exception as error:  # as on a worker, a plan's failure must not end the search
            return error
        if measured is None or engine.tell(job.number, measured):
            return None
