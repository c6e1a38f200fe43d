"""How many plans a worker trains side by side."""

from __future__ import annotations

from isoshare.evaluators.evaluator import Evaluator
from isoshare.search.config import SearchConfig

ROUNDS = 10
"""A sampler shall hear of results so many times at least: plans that are chosen together are chosen
without knowing of each other."""


def plans_per_worker(config: SearchConfig, evaluator: Evaluator) -> tuple[int, str]:
    """How many, and why not as many as were asked for, if it is so."""
    asked = config.plans_per_worker
    if asked == "1":
        return 1, ""
    most = evaluator.most_together()
    if asked == "auto":
        return max(1, min(most, config.trials // (ROUNDS * config.workers))), ""
    if most == 1:
        return 1, (
            "plans are trained one by one: side by side, networks must be small and their "
            "evaluator must train them from images; leave --plans-per-worker out"
        )
    if config.rungs:
        return 1, (
            "plans are trained one by one: a training that may be stopped early is alone; "
            "leave --plans-per-worker or the rungs out"
        )
    return int(asked), ""
