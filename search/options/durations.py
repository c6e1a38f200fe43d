"""Lengths of time as people type them: ``90s``, ``30m``, ``2h``, ``1d``."""

from __future__ import annotations

import re

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
PATTERN = r"^[1-9]\d{0,6}[smhd]?$"
"""Whole numbers; without a unit they are seconds."""


def seconds_of(text: str) -> int:
    """The seconds of such a text."""
    number, unit = re.fullmatch(r"(\d+)(\D?)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def span(seconds: float) -> str:
    """``0.42 s``, ``12 s``, ``3:05 min``, ``2:30 h``."""
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    short, unit = (seconds, "min") if seconds < 3600 else (seconds / 60, "h")
    return f"{int(short) // 60}:{int(short) % 60:02} {unit}"
