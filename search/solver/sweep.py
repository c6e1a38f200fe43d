"""The predicted front as a file, for tables and other tools."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from isoshare.search.solver.plan_solver import Solved
from isoshare.space.files import atomic_write
from isoshare.space.variants.variant_space import Space


def write_sweep(front: Sequence[Solved], space: Space, path: Path) -> None:
    """The predicted front as CSV: a row a plan, with its banks as JSON. Where the backbone varies,
    also its arguments, and the accuracy that is expected.
    """
    varied = [name for name, _ in space.variant]
    more = ["accuracy", *varied] if varied else []
    with atomic_write(path) as half, half.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["parameters", "bytes", "macs", "score", "fingerprint", "banks", *more])
        for one in front:
            plan = one.plan
            costs = space.trainable_parameters(plan), space.stored_bytes(plan), space.macs(plan)
            told = [one.accuracy, *dict(plan.variant).values()] if varied else []
            banks = json.dumps(plan.documents())
            rows.writerow([*costs, one.score, plan.fingerprint, banks, *told])
