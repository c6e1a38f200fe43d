"""Run jobs one after another in this process: what tests use, and the least a driver has to do."""

from __future__ import annotations

from isoshare.evaluators.evaluator import Evaluator
from isoshare.search.engine import Engine


def run_inline(engine: Engine, measure: Evaluator) -> None:
    """Run jobs until the engine has none left. A plan that raises is recorded as failed."""
    while (job := engine.ask()) is not None:
        steps = iter(measure(job.plan, job.seeds, job.split, job.rungs))
        while True:
            try:
                measured = next(steps, None)
            except Exception as error:  # as on a worker, a plan's failure must not end the search
                engine.fail(job.number, f"{type(error).__name__}: {error}")
                break
            if measured is None or engine.tell(job.number, measured):
                break
