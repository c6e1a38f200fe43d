"""What the plans of a search space cost, in closed form: nothing is built to know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from isoshare.space.apply import plan_parameters
from isoshare.space.costs import closed_form as counted
from isoshare.space.costs.closed_form import NetworkCosts
from isoshare.space.errors import IsoshareError
from isoshare.space.methods.device import Target
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import Site


class CountedSpace:
    """The sites of a backbone, and what plans over them cost.

    sites: all of them, in module order; unshared: trainable parameters of the backbone; costs: what
    one image costs it, where that is known.
    """

    def __init__(
        self, sites: Sequence[Site], unshared: int, costs: NetworkCosts | None = None
    ) -> None:
        self.sites = tuple(sites)
        self.unshared = unshared
        self._costs = costs
        self._sizes: dict[SharingPlan, int] = {}

    def trainable_parameters(self, plan: SharingPlan) -> int:
        """Trainable parameters of the network that ``plan`` builds, without building it."""
        if plan not in self._sizes:
            self._sizes[plan] = plan_parameters(plan, self.sites, self.unshared)
        return self._sizes[plan]

    @property
    def largest(self) -> Self:
        """Of the spaces of several variants the one with the most parameters: here itself."""
        return self

    @property
    def has_costs(self) -> bool:
        """Whether more than parameters is known."""
        return self._costs is not None

    @property
    def knows_devices(self) -> bool:
        """Whether what a device holds is known: earlier versions counted other costs alone."""
        return self._costs is not None and self._costs.rest is not None

    @property
    def costs(self) -> NetworkCosts:
        """What one image costs the backbone. Raises IsoshareError if nobody has told."""
        if self._costs is None:
            raise IsoshareError(
                "this space knows only parameters: for macs, bytes, activations and latency give "
                "it the costs of its backbone, SearchSpace(..., costs=network_costs(...))"
            )
        return self._costs

    def macs(self, plan: SharingPlan) -> int:
        """Multiply-accumulates of the shared network for one image."""
        return counted.total_macs(plan, self.sites, self.costs)

    def stored_bytes(self, plan: SharingPlan) -> int:
        """Bytes of a file that holds each tensor of the shared network once."""
        return counted.stored_bytes(plan, self.sites, self.costs)

    def activation_bytes(self, plan: SharingPlan) -> int:
        """Bytes of the activations of one image that are alive at once, at most."""
        return counted.activation_bytes(plan, self.sites, self.costs)

    def device_bytes(self, plan: SharingPlan, target: Target) -> int:
        """Bytes that a device holds of the shared network beside activations."""
        return counted.device_bytes(plan, self.sites, self.costs, target)
