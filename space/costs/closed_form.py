"""What a plan costs beside parameters, in closed form: operations, bytes, live activations.

One forward pass of one image through the unshared network gives ``NetworkCosts``
(space/passes/forward_pass.py); what a plan makes of them is counted here without building anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from isoshare.space.apply import fit, plan_macs
from isoshare.space.errors import IsoshareError
from isoshare.space.methods import FLOAT_BYTES, METHODS
from isoshare.space.methods.device import Held, Target, Uses, own_site
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import Site


@dataclass(frozen=True)
class Call:
    """One call of a module for one image.

    waiting: bytes of activations that are alive when it is called, its input among them.
    extra: bytes beside its output while it runs, such as a padded input.
    positions: of its output.
    """

    waiting: int
    extra: int
    positions: int


Calls = Mapping[str, tuple[Call, ...]]


@dataclass(frozen=True)
class NetworkCosts:
    """What one image costs the unshared network, in evaluation mode and float32.

    other_macs: multiply-accumulates of everything but the sites.
    stored: bytes of a file that holds each of its tensors once, without names.
    peak: bytes of the activations that are alive at once, at most.
    calls: of each site; norm_calls: of the batch normalisation registered right after it.
    measured: what was not counted but measured on it, by the name of the objective.
    uses: of each site; rest: what a device holds beside them (None in studies of earlier versions).
    """

    other_macs: int
    stored: int
    peak: int
    calls: Calls
    norm_calls: Calls
    measured: Mapping[str, float] = field(default_factory=dict)
    uses: Mapping[str, Uses] = field(default_factory=dict)
    rest: Held | None = None

    @property
    def positions(self) -> dict[str, int]:
        """For each site the positions of its output, over all its calls."""
        return {name: sum(call.positions for call in calls) for name, calls in self.calls.items()}

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> NetworkCosts:
        """The inverse of ``document``."""
        read = {
            "calls": _calls(document["calls"]),
            "norm_calls": _calls(document["norm_calls"]),
            "uses": {name: Uses(*uses) for name, uses in document.get("uses", {}).items()},
            "rest": Held(*document["rest"]) if document.get("rest") else None,
        }
        return cls(**{**document, **read})


def total_macs(plan: SharingPlan, sites: Sequence[Site], costs: NetworkCosts) -> int:
    """Multiply-accumulates of the shared network for one image."""
    return plan_macs(plan, sites, costs.positions) + costs.other_macs


def stored_bytes(plan: SharingPlan, sites: Sequence[Site], costs: NetworkCosts) -> int:
    """Bytes of a file that holds each tensor of the shared network once, without names."""
    total = costs.stored
    for bank, members in fit(plan, sites):
        method = METHODS[bank.method].implementation
        total -= FLOAT_BYTES * sum(site.parameters for site in members)
        total += method.stored_bytes(members, bank.options)
    return total


def device_bytes(
    plan: SharingPlan, sites: Sequence[Site], costs: NetworkCosts, target: Target
) -> int:
    """Bytes that a device holds of the shared network beside activations: each kernel once.

    target: float32, or int8 for kernels of 8 bits. Raises IsoshareError where an earlier version
    has not counted it.
    """
    if costs.rest is None:
        raise IsoshareError(
            "this study was started by a version that did not count what a device holds: start a "
            "new one to ask for it"
        )
    held, private = costs.rest, {site.name: site for site in sites}
    for bank, members in fit(plan, sites):
        uses = [costs.uses[private.pop(site.name).name] for site in members]
        held = held.plus(METHODS[bank.method].implementation.held(members, bank.options, uses))
    alone = (own_site(site, costs.uses[name]) for name, site in private.items())
    return held.plus(*alone).bytes(target)


def activation_bytes(plan: SharingPlan, sites: Sequence[Site], costs: NetworkCosts) -> int:
    """Bytes of the activations of one image that are alive at once, at most.

    Methods only ever add to what is alive inside a site, never to what waits outside.
    """
    peak = costs.peak
    for bank, members in fit(plan, sites):
        each = METHODS[bank.method].implementation.activation_elements(members, bank.options)
        for site, live in zip(members, each, strict=True):
            for call in costs.calls[site.name]:
                first = call.extra + live.convolution * FLOAT_BYTES * call.positions
                later = live.after * FLOAT_BYTES * call.positions
                peak = max(peak, call.waiting + max(first, later))
            for call in costs.norm_calls.get(site.name, ()):
                later = live.normalisation * FLOAT_BYTES * call.positions
                peak = max(peak, call.waiting + later)
    return peak


def _calls(document: Mapping[str, Any]) -> dict[str, tuple[Call, ...]]:
    return {name: tuple(Call(**call) for call in calls) for name, calls in document.items()}
