"""Run jobs one after another in this process: no workers, and the least a driver has to do."""

from __future__ import annotations

from isoshare.evaluators.evaluator import Evaluator
from isoshare.search.drivers.results import results_of, take
from isoshare.search.engine import Engine


def run_inline(engine: Engine, measure: Evaluator) -> None:
    """Run jobs until the engine has none left. A plan that raises is recorded as failed."""
    while (job := engine.ask()) is not None:
        for result in results_of([job], measure):
            if take(engine, result):
                break
