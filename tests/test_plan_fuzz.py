"""Plan files from strangers: a plan or a PlanError, never anything else, and never slowly.

ISOSHARE_FUZZ sets how many are tried: thousands by default, 100,000 by ``make fuzz``.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from isoshare.space.errors import PlanError
from isoshare.space.plan import PlanFile, SharingPlan

FILES = int(os.environ.get("ISOSHARE_FUZZ", "4000"))
PLAN: dict[str, Any] = {
    "schema": "isoshare.plan/1",
    "backbone": {"name": "resnet_cifar", "arguments": {"depth": 20, "width": 2.0, "x": "y"}},
    "banks": [
        {"method": "kernel", "options": {"orthogonality": 0.5}, "sites": ["a.2", "a.10"]},
        {"method": "anchored", "options": {"every": 2}, "sites": ["b", "c"]},
        {"method": "filter_basis", "options": {"shared_rank": 4}, "sites": ["d", "e"]},
        {
            "method": "slice_generator",
            "options": {"slice_size": 4, "code_size": 8, "generator": "binary"},
            "sites": ["f"],
        },
    ],
    "parameters": {"unshared": 9, "shared": 4},
    "measured": [
        {"objective": "o", "value": 0.5, "split": "test", "fidelity": {"epochs": 2}, "seed": 0}
    ],
    "provenance": {"study": "s", "trial": 1},
}
STRANGE: list[Callable[[random.Random], Any]] = [
    lambda rng: None,
    lambda rng: rng.choice([True, -1, 0, 2**63, 10**400, -0.0, 1e308, 5e-324]),
    lambda rng: rng.choice(["", "\0", "\ud800", "é" * 9, "1" * 5000, "x" * 100_000, "../../etc"]),
    lambda rng: rng.choice([[], {}, [[]], [None], {"": {}}, {"schema": 1}]),
    lambda rng: rng.choice(["kernel", "anchored", "filter_basis", "slice_generator", "a.2", "b"]),
    lambda rng: json.loads("[" * 500 + "]" * 500),
    lambda rng: [f"site.{place}" for place in range(rng.choice([1, 1000]))],
]
TEXTS: list[Callable[[random.Random, str], str | bytes]] = [
    lambda rng, text: text,
    lambda rng, text: text[: rng.randrange(len(text))],
    lambda rng, text: "[" * rng.choice([10, 100_000]) + text,
    lambda rng, text: text.replace("0.5", rng.choice(["NaN", "Infinity", "1e999", "9" * 5000])),
    lambda rng, text: text.replace('"schema"', '"schema": 1, "schema"'),
    lambda rng, text: text.encode("utf-16"),
    lambda rng, text: bytes(rng.randrange(256) for _ in range(rng.randrange(200))),
    lambda rng, text: _flipped(rng, text.encode()),
]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def places(value: Any, depth: int = 5) -> list[tuple[Any, Any]]:
    """Every place in a document that can be given another value."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    inner = [value[key] for key in keys if isinstance(value[key], dict | list) and depth]
    here = [(value, key) for key in keys]
    return here + [place for one in inner for place in places(one, depth - 1)]


def strange_file(rng: random.Random) -> str | bytes:
    """A plan file with some values exchanged, removed or added, its text sometimes broken."""
    document = json.loads(json.dumps(PLAN))
    for _ in range(rng.randrange(4)):
        holder, key = rng.choice(places(document))
        action = rng.random()
        if action < 0.7:
            holder[key] = rng.choice(STRANGE)(rng)
        elif action < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(["extra", "", "sites", "\ud800"])] = rng.choice(STRANGE)(rng)
        else:
            holder.append(holder[0])
    breaks = rng.choice(TEXTS) if rng.random() < 0.4 else TEXTS[0]
    return breaks(rng, json.dumps(document))


def refusal(text: str | bytes) -> str:
    """Why a file is no plan; empty if it is one."""
    try:
        plan = PlanFile.parse(text).plan
    except PlanError as error:
        return str(error) or "no reason"
    assert SharingPlan.from_documents(plan.documents()) == plan
    return "" if len(plan.fingerprint) == 16 else "no fingerprint"


def test_a_plan_or_a_plan_error_within_a_second() -> None:
    reasons, slowest = [], 0.0
    for seed in range(FILES):
        text, start = strange_file(random.Random(seed)), time.process_time()
        try:
            reasons.append(refusal(text))
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}"[:500])
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 1, f"one took {slowest:.1f} s"
    assert not {"no reason", "no fingerprint"} & set(reasons)
    assert max(map(len, reasons)) < 1000, "a reason is there to be read"
    assert FILES / 10 < reasons.count("") < FILES * 0.9, "the files must be of both kinds"
