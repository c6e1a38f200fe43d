"""OBJECTIVES: the named, directed numbers of a plan that a search can trade against each other.

This table is read without torch. ``exact`` objectives follow from the plan and its space alone and
are known before anything is trained; the others are measured by an evaluator, once a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace

Direction = Literal["maximize", "minimize"]
Cost = Callable[[SearchSpace, SharingPlan], float]


@dataclass(frozen=True)
class Objective:
    """One row of OBJECTIVES.

    worst: the reference for the hypervolume, as a function of the space: a value that no plan
        worth having exceeds.
    exact: the number as a function of space and plan, or None if it has to be measured.
    unit: what is counted, where the name does not say it.
    of_an_image: whether the space must know what an image costs the unshared network.
    """

    direction: Direction
    worst: Callable[[SearchSpace], float]
    exact: Cost | None = None
    unit: str = ""
    of_an_image: bool = False


def _above_all(cost: Cost) -> Callable[[SearchSpace], float]:
    """A tenth above the most that a plan costs: filter bases and regulators may cost more than the
    unshared network, and what they save elsewhere shall count.
    """

    def worst(space: SearchSpace) -> float:
        dearest = space.cheapest(lambda plan: -cost(space, plan))
        return 1.1 * cost(space, dearest)

    return worst


def _costs(cost: Cost, unit: str = "") -> Objective:
    return Objective("minimize", _above_all(cost), cost, unit, of_an_image=True)


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
    # Multiply-accumulates of convolutions and matrix products for one image.
    "macs": _costs(lambda space, plan: space.macs(plan)),
    # Size of a file that holds each tensor once: trained, frozen, and buffers.
    "bytes": _costs(lambda space, plan: space.stored_bytes(plan)),
    # What a device holds of the network beside activations: each kernel once, scales and biases of
    # every use (space/methods/device.py), in float32 and with kernels of 8 bits.
    "device_bytes": _costs(lambda space, plan: space.device_bytes(plan, "float32")),
    "device_bytes_int8": _costs(lambda space, plan: space.device_bytes(plan, "int8")),
    # Most activations of one image that are alive at once, in float32 (space/forward_pass.py).
    "activation_memory": _costs(lambda space, plan: space.activation_bytes(plan), "bytes"),
    # Median time of one image on one thread. Twice the unshared network, because times are noisy
    # and not known before they are measured; a slower plan adds nothing to the hypervolume.
    "latency": Objective(
        "minimize",
        worst=lambda space: 2 * space.costs.measured["latency"],
        unit="ms",
        of_an_image=True,
    ),
    # Spikes of all neurons for one image, a mean. As many as if every out-channel spiked at each
    # position of a 32x32 image in 15 time steps.
    "spikes": Objective(
        "minimize",
        worst=lambda space: 15.0 * 32 * 32 * sum(site.out_channels for site in space.sites),
    ),
}


def objectives_named(names: Sequence[str]) -> dict[str, Objective]:
    """The rows of these objectives."""
    return {name: OBJECTIVES[name] for name in names}


def exact_values(names: Sequence[str], space: SearchSpace, plan: SharingPlan) -> dict[str, float]:
    """Those of the objectives that follow from the plan alone."""
    rows = ((name, OBJECTIVES[name].exact) for name in names)
    return {name: exact(space, plan) for name, exact in rows if exact is not None}
