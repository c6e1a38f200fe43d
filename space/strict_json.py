"""JSON that somebody has written: what Python would read in a way of its own is refused."""

from __future__ import annotations

import json
from typing import Any

from isoshare.space.errors import short


def read_json(text: str | bytes) -> Any:
    """What a JSON document says. Raises ValueError, also for NaN and for a field that is there
    twice, of which Python would take the last without a word; RecursionError.
    """
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_each_once)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {short(twice)} is there twice; remove one")
    return made
