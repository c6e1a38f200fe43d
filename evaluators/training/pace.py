"""What an example takes in training, tried out in a moment, and whether a deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

FEW = 8
"""Examples of the first try: a step of a large network takes seconds."""
SLOW, TRIES = 0.3, 3
"""Seconds of tries after which there is no other one."""
TOO_SLOW = 1.0
"""Seconds of a try with few examples after which none with a whole batch is made; such a step is
slow for its examples, a faster one for what each step takes whatever it is given.
"""
FORWARD = 1 / 3
"""What measuring an example takes, as a share of training on it."""


def is_past(deadline: float | None) -> bool:
    """Whether it has passed, in seconds of ``time.time``."""
    return deadline is not None and time.time() >= deadline


def seconds_per_example(step: Callable[[int], object], most: int, batches: int = 1) -> float:
    """What ``step``, a training on so many examples, takes for each; of batches of ``most``.

    batches: so many batches ``step`` can be given at once, where it takes a while to begin: what it
        takes for several is compared with what it takes for one.
    """
    few = min(FEW, most)
    step(few)  # what is done once, as lazy imports, is not what an example takes
    spent = _fastest(partial(step, few))
    if spent > TOO_SLOW or few == most:
        return spent / few
    whole = _fastest(partial(step, most))
    more = _fastest(partial(step, batches * most)) - whole if batches > 1 else 0.0
    return more / (most * (batches - 1)) if more > 0 else whole / most


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some tries."""
    tries: list[float] = []
    while len(tries) < TRIES and sum(tries) < SLOW:
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return min(tries)
