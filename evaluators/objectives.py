"""OBJECTIVES: the named, directed numbers of a plan that a search can trade against each other.

This table is read without torch. ``exact`` objectives follow from the plan and its space alone and
are known before anything is trained; the others are measured by an evaluator, once a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from space.plan import SharingPlan
from space.search_space import SearchSpace

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """One row of OBJECTIVES.

    exact: the number as a function of space and plan, or None if it has to be measured.
    worst: the reference for the hypervolume, as a function of the space: a value that no plan
        worth having exceeds.
    """

    direction: Direction
    worst: Callable[[SearchSpace], float]
    exact: Callable[[SearchSpace, SharingPlan], float] | None = None


OBJECTIVES: dict[str, Objective] = {
    # Share of the validation images that are classified correctly.
    "accuracy": Objective("maximize", worst=lambda _: 0.0),
    # Unique trainable parameters. A tenth above the unshared network, so that its own accuracy
    # still adds to the hypervolume.
    "parameters": Objective(
        "minimize",
        worst=lambda space: 1.1 * space.unshared,
        exact=lambda space, plan: space.trainable_parameters(plan),
    ),
    # Spikes of all neurons for one image, a mean. As many as if every out-channel spiked at each
    # position of a 32x32 image in 15 time steps.
    "spikes": Objective(
        "minimize",
        worst=lambda space: 15.0 * 32 * 32 * sum(site.out_channels for site in space.sites),
    ),
}


def exact_values(names: Sequence[str], space: SearchSpace, plan: SharingPlan) -> dict[str, float]:
    """Those of the objectives that follow from the plan alone."""
    rows = ((name, OBJECTIVES[name].exact) for name in names)
    return {name: exact(space, plan) for name, exact in rows if exact is not None}
