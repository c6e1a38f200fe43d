"""What an example takes in training, tried out in a moment, and whether a deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

FEW = 8
"""Examples of the first try: a step of a large network takes seconds."""
SLOW, TRIES = 0.3, 3
"""Seconds of a try after which there is no other one, nor one with a whole batch."""
FORWARD = 1 / 3
"""What measuring an example takes, as a share of training on it."""


def is_past(deadline: float | None) -> bool:
    """Whether it has passed, in seconds of ``time.time``."""
    return deadline is not None and time.time() >= deadline


def seconds_per_example(step: Callable[[int], object], most: int) -> float:
    """What ``step``, one of so many examples, takes for each of them; of batches of ``most``."""
    few = min(FEW, most)
    step(few)  # what is done once, as lazy imports, is not what an example takes
    spent = _fastest(partial(step, few))
    return spent / few if spent > SLOW or few == most else _fastest(partial(step, most)) / most


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some tries."""
    tries: list[float] = []
    while len(tries) < TRIES and sum(tries) < SLOW:
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return min(tries)
