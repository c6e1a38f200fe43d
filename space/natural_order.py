"""The order of module paths that a person expects: ``layer1.2`` before ``layer1.10``."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(10_000)  # a study has thousands of plans of the same few sites
def natural_order(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """A sort key under which ``stages.2`` comes before ``stages.10``; total over all names."""
    parts = re.split(r"([0-9]+)", name)
    key = tuple(_size(part) if place % 2 else part for place, part in enumerate(parts))
    return key, name


def _size(digits: str) -> tuple[int, str]:  # Python makes no number of thousands of digits
    significant = digits.lstrip("0")
    return len(significant), significant
