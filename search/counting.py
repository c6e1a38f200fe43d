"""What each bank of a plan costs, counted in a process of its own.

    python -m search.counting < {"sites": [...], "banks": [...]}

Closed forms of methods live beside their torch code; the service, which must not import torch,
asks this program. It builds no network and opens no file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from space.apply import fit
from space.methods import METHODS
from space.plan import SharingPlan
from space.sites import Site


def bank_counts(plan: SharingPlan, sites: Sequence[Site]) -> list[dict[str, int]]:
    """Trainable parameters of the sites of each bank, unshared and shared, in canonical order.

    Raises PlanError if the plan does not fit the sites.
    """
    return [
        {
            "unshared": sum(site.parameters for site in members),
            "shared": METHODS[bank.method].implementation.parameters(members, bank.options),
        }
        for bank, members in fit(plan, sites)
    ]


def main(request: Mapping[str, Any]) -> list[dict[str, int]]:
    """Answer one request, given as JSON values."""
    sites = [Site(**{**row, "kernel_size": tuple(row["kernel_size"])}) for row in request["sites"]]
    return bank_counts(SharingPlan.from_documents(request["banks"]), sites)


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))  # noqa: T201  this is its answer
