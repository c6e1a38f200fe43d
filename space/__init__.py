"""What may be shared: plans, the sites of a network, and how a plan is applied to it.

The public names are loaded on first use, so that ``space.plan`` can be imported without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from space.apply import apply_plan, count_parameters, extra_loss
    from space.errors import IsoshareError, PlanError
    from space.plan import Bank, SharingPlan
    from space.search_space import SearchSpace
    from space.sites import Site, find_sites, isomorphic_groups

_HOMES = {
    "apply_plan": "space.apply",
    "count_parameters": "space.apply",
    "extra_loss": "space.apply",
    "IsoshareError": "space.errors",
    "PlanError": "space.errors",
    "Bank": "space.plan",
    "SharingPlan": "space.plan",
    "SearchSpace": "space.search_space",
    "Site": "space.sites",
    "find_sites": "space.sites",
    "isomorphic_groups": "space.sites",
}

__all__ = [
    "Bank",
    "IsoshareError",
    "PlanError",
    "SearchSpace",
    "SharingPlan",
    "Site",
    "apply_plan",
    "count_parameters",
    "extra_loss",
    "find_sites",
    "isomorphic_groups",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'space' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
