"""All usual sources of randomness, set by a seed for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All usual sources of randomness as this seed sets them; afterwards they are as before."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        seed_torch(seed % 2**63)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def seed_torch(seed: int) -> None:
    """``torch.manual_seed``, at a tenth of its cost where there is no accelerator: torch would keep
    the call, with where it came from in words, for one that is started later.
    """
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()
