"""What is passed in Python, checked where the wrong type would end in a puzzle: the weights of a
network in place of the network, the name of a plan file in place of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.space.errors import BackboneError, PlanError, short

if TYPE_CHECKING:
    from torch import nn


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
