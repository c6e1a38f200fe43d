"""What is passed in Python, checked where the wrong type would end in a puzzle: the weights of a
network in place of the network, the name of a plan file in place of the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.space.errors import BackboneError, PlanError, one_of, short

if TYPE_CHECKING:
    from torch import nn

    from isoshare.space.sites import Site


def check_network(network: nn.Module) -> None:
    """Raise BackboneError for what is no module."""
    from torch import nn

    given: Any = network
    if isinstance(given, nn.Module):
        return
    if isinstance(given, type):
        raise BackboneError(
            f"a network is a torch.nn.Module, got the class {given.__name__}: make one of it"
        )
    if isinstance(given, Mapping):
        raise BackboneError(
            f"a network is a torch.nn.Module, got a {type(given).__name__}: make the network and "
            "give it these weights by load_state_dict"
        )
    raise BackboneError(f"a network is a torch.nn.Module, got {short(given)}")


def check_plan(plan: object) -> None:
    """Raise PlanError for what is no plan."""
    from isoshare.space.plan import PlanFile, SharingPlan

    if isinstance(plan, SharingPlan):
        return
    way_out = "SharingPlan(banks) makes one"
    if isinstance(plan, str | Path):
        way_out = f"SharingPlan.load({str(plan)!r}) reads one"
    elif isinstance(plan, PlanFile):
        way_out = "it is the .plan of a PlanFile"
    raise PlanError(f"a plan is a SharingPlan, got {short(plan)}: {way_out}")


def checked_sites(sites: Iterable[Site]) -> list[Site]:
    """The same. Raises PlanError for what are no sites, as a network in their place."""
    from isoshare.space.sites import Site

    given: Any = sites
    found = list(given) if isinstance(given, Iterable) else [given]
    if wrong := [one for one in found if not isinstance(one, Site)]:
        raise PlanError(
            "sites are those of a network, as isoshare.find_sites(network) returns them, got "
            f"{short(wrong[0])}"
        )
    return found


def checked_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """The same. Raises PlanError for what is no method, and for a name in place of several."""
    from isoshare.space.methods import METHODS

    if isinstance(methods, str):
        raise PlanError(f"methods are several, as ({methods!r},), got {short(methods)}")
    names = tuple(methods)
    for name in names:
        if name not in METHODS:
            raise PlanError(one_of("method", name, METHODS))
    return names
