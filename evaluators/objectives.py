"""OBJECTIVES: the named, directed numbers of a plan that a search can trade against each other.

This table is read without torch. ``exact`` objectives follow from the plan and its space alone and
are known before anything is trained; the others are measured by an evaluator, once a seed.

Objectives of the user's own, which their function measures, are written with a direction:
``miou:max``. They have no row; ``objective_row`` makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.methods.device import Target
from isoshare.space.plan import SharingPlan
from isoshare.space.variants.variant_space import Space

Direction = Literal["maximize", "minimize"]
Cost = Callable[[Space, SharingPlan], float]


@dataclass(frozen=True)
class Objective:
    """One row of OBJECTIVES.

    worst: the reference for the hypervolume, as a function of the space: a value that no plan
        worth having exceeds; None where only the first measurement can tell.
    exact: the number as a function of space and plan, or None if it has to be measured.
    unit: what is counted, where the name does not say it.
    of_an_image: whether the space must know what an image costs the unshared network.
    """

    direction: Direction
    worst: Callable[[Space], float | None]
    exact: Cost | None = None
    unit: str = ""
    of_an_image: bool = False


def _above_all(cost: Cost) -> Callable[[Space], float | None]:
    """A tenth above the most that a plan costs: filter bases and regulators may cost more than the
    unshared network, and what they save elsewhere shall count.
    """

    def worst(space: Space) -> float:
        dearest = space.cheapest(lambda plan: -cost(space, plan))
        return 1.1 * cost(space, dearest)

    return worst


def _costs(cost: Cost, unit: str = "") -> Objective:
    return Objective("minimize", _above_all(cost), cost, unit, of_an_image=True)


OBJECTIVES: dict[str, Objective] = {
    # Share of the validation images that are classified correctly.
    "accuracy": Objective("maximize", worst=lambda _: 0.0),
    # Unique trainable parameters. A tenth above the largest unshared network, so that its own
    # accuracy still adds to the hypervolume.
    "parameters": Objective(
        "minimize",
        worst=lambda space: 1.1 * space.largest.unshared,
        exact=lambda space, plan: space.trainable_parameters(plan),
    ),
    # Multiply-accumulates of convolutions and matrix products for one image.
    "macs": _costs(lambda space, plan: space.macs(plan)),
    # Size of a file that holds each tensor once: trained, frozen, and buffers.
    "bytes": _costs(lambda space, plan: space.stored_bytes(plan)),
    # What a device holds of the network beside activations: each kernel once, scales and biases of
    # every use (space/methods/device.py), in float32 and with kernels of 8 bits.
    "device_bytes": _costs(lambda space, plan: space.device_bytes(plan, "float32")),
    "device_bytes_int8": _costs(lambda space, plan: space.device_bytes(plan, "int8")),
    # Most activations of one image that are alive at once (space/passes/forward_pass.py).
    "activation_memory": _costs(lambda space, plan: space.activation_bytes(plan), "bytes"),
    # Median time of one image on one thread. Twice the unshared network, because times are noisy
    # and not known before they are measured; a slower plan adds nothing to the hypervolume.
    "latency": Objective(
        "minimize",
        worst=lambda space: 2 * space.largest.costs.measured["latency"],
        unit="ms",
        of_an_image=True,
    ),
    # Spikes of all neurons for one image, a mean. As many as if every out-channel spiked at each
    # position of a 32x32 image in 15 time steps.
    "spikes": Objective(
        "minimize",
        worst=lambda space: 15.0 * 32 * 32 * sum(site.out_channels for site in space.largest.sites),
    ),
}


DEVICE_OBJECTIVES: dict[Target, str] = {"float32": "device_bytes", "int8": "device_bytes_int8"}
"""What devices hold, by how they compute."""

DIRECTIONS: dict[str, Direction] = {
    "max": "maximize",
    "maximize": "maximize",
    "min": "minimize",
    "minimize": "minimize",
}


def objective_name(text: str) -> str:
    """The name of an objective without the direction: ``miou`` of ``miou:max``."""
    return text.partition(":")[0]


def objective_row(text: str) -> Objective:
    """The row of an objective as it was asked for: ``parameters``, or ``miou:max`` of one's own.

    Raises IsoshareError for a name that is in no table and has no direction, and for a direction
    that is not one or contradicts the table.
    """
    name, colon, way = text.partition(":")
    if colon and (way not in DIRECTIONS or not name):
        raise IsoshareError(f"an objective is written NAME, NAME:max or NAME:min, got {text!r}")
    known = OBJECTIVES.get(name)
    if known is None and not colon:
        wrong = one_of("objective", name, OBJECTIVES)
        raise IsoshareError(f"{wrong}, or give one of your own a direction, {name}:max")
    if known is None:
        return Objective(DIRECTIONS[way], worst=lambda _: None)
    if colon and DIRECTIONS[way] != known.direction:
        raise IsoshareError(
            f"objective {name!r} is one to {known.direction}, got {text!r}: leave the direction "
            "out, or give an objective of your own another name"
        )
    return known


def written(text: str) -> str:
    """An objective as a study records it: one of the table by its name alone, one of the user's own
    as ``miou:maximize``. Raises as above.
    """
    name, row = objective_name(text), objective_row(text)
    return name if name in OBJECTIVES else f"{name}:{row.direction}"


def is_exact(text: str) -> bool:
    """Whether an objective is known before anything is trained."""
    return objective_row(text).exact is not None


def is_known_exact(name: str) -> bool:
    """The same of a bare name; one that is in no table is the user's own, which is measured."""
    return name in OBJECTIVES and OBJECTIVES[name].exact is not None


def learnt_reference(direction: Direction, first: float) -> float:
    """The reference of an objective of the user's own, from the first value that was measured.

    One to minimise: twice the value, as a worse plan adds nothing worth having; one to maximise: 0.
    Where values are negative, as far below (above) the first one as it is from 0, at least 1.
    """
    slack = first if first > 0 else max(abs(first), 1.0)
    return first - slack if direction == "maximize" else first + slack


def objectives_named(asked: Sequence[str]) -> dict[str, Objective]:
    """The rows of objectives as they were asked for, by their bare names."""
    return {objective_name(one): objective_row(one) for one in asked}


def exact_values(names: Sequence[str], space: Space, plan: SharingPlan) -> dict[str, float]:
    """Those of the objectives that follow from the plan alone."""
    rows = ((objective_name(name), objective_row(name).exact) for name in names)
    return {name: exact(space, plan) for name, exact in rows if exact is not None}
