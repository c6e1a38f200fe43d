"""Isoshare: which layers of a network can share their weights, and how.

The four rooms of the project (space, evaluators, storage, search) are importable as parts of this
package and as nothing else. Public names are loaded on first use: ``import isoshare`` itself loads
neither torch nor Ray nor Optuna.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoshare.evaluators.inheriting.own_network import inherit_weights
    from isoshare.evaluators.own_code.own_training import Training
    from isoshare.evaluators.own_code.trial import Trial
    from isoshare.search.solver.solve import Solver, solve
    from isoshare.search.study import Study, create_study, load_study
    from isoshare.space.apply import apply_plan, count_parameters, extra_loss
    from isoshare.space.errors import IsoshareError, PlanError
    from isoshare.space.plan import Bank, SharingPlan
    from isoshare.space.search_space import SearchSpace
    from isoshare.space.sites import Site, find_sites, isomorphic_groups
    from isoshare.space.weights.saving import load_weights, save_weights

_HOMES = {
    "inherit_weights": "evaluators.inheriting.own_network",
    "Training": "evaluators.own_code.own_training",
    "Trial": "evaluators.own_code.trial",
    "Study": "search.study",
    "create_study": "search.study",
    "load_study": "search.study",
    "Solver": "search.solver.solve",
    "solve": "search.solver.solve",
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
    "load_weights": "space.weights.saving",
    "save_weights": "space.weights.saving",
}

__all__ = [
    "Bank",
    "IsoshareError",
    "PlanError",
    "SearchSpace",
    "SharingPlan",
    "Site",
    "Solver",
    "Study",
    "Training",
    "Trial",
    "apply_plan",
    "count_parameters",
    "create_study",
    "extra_loss",
    "find_sites",
    "inherit_weights",
    "isomorphic_groups",
    "load_study",
    "load_weights",
    "save_weights",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isoshare' has no attribute {name!r}")
    return getattr(import_module(f"isoshare.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
