"""CONSTRAINTS: the options that bound an objective, one row each.

A bound on an exact objective is known before training: a plan that breaks it is never measured. A
bound on a measured one is known afterwards: the trial is kept, but is not on the front, and the
sampler is told how far it was off. This table is read without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import SharingPlan
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import HasObjectives

Bound = Literal["at most", "at least"]

CONSTRAINTS: dict[str, tuple[str, Bound]] = {
    "max_parameters": ("parameters", "at most"),
    "max_macs": ("macs", "at most"),
    "max_bytes": ("bytes", "at most"),
    "max_device_bytes": ("device_bytes", "at most"),
    "max_device_bytes_int8": ("device_bytes_int8", "at most"),
    "min_accuracy": ("accuracy", "at least"),
}


@dataclass(frozen=True)
class Constraint:
    """A constraint with the value that a user gave it."""

    option: str
    objective: str
    bound: Bound
    value: float

    @property
    def is_exact(self) -> bool:
        """Whether it can be checked before anything is trained."""
        return OBJECTIVES[self.objective].exact is not None

    @property
    def flag(self) -> str:
        """As it was typed: ``--max-macs 1,000``."""
        return f"--{self.option.replace('_', '-')} {self.value:,}"

    def violation(self, value: float) -> float:
        """How far a value is beyond the limit; zero or less if it keeps it."""
        return value - self.value if self.bound == "at most" else self.value - value

    def cost(self, space: Space, plan: SharingPlan) -> float:
        """The exact value of a plan."""
        exact = OBJECTIVES[self.objective].exact
        assert exact is not None, "only exact limits are asked before a plan is measured"
        return exact(space, plan)

    def keeps(self, trial: HasObjectives) -> bool:
        """Whether a finished trial keeps the limit; one without a value does not."""
        value = trial.value(self.objective)
        return value is not None and self.violation(value) <= 0


def limits_of(options: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """The constraints among the options of a search."""
    return tuple(
        Constraint(option, objective, bound, options[option])
        for option, (objective, bound) in CONSTRAINTS.items()
        if options.get(option) is not None
    )


def exact_limits(options: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """Those that are known before anything is trained."""
    return tuple(limit for limit in limits_of(options) if limit.is_exact)


def measured_limits(options: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """Those that are known when a trial has ended."""
    return tuple(limit for limit in limits_of(options) if not limit.is_exact)


def fits(limits: Sequence[Constraint], space: Space, plan: SharingPlan) -> bool:
    """Whether a plan keeps all of these exact limits."""
    return all(limit.violation(limit.cost(space, plan)) <= 0 for limit in limits)


def violations(limits: Sequence[Constraint], trial: HasObjectives) -> dict[str, float]:
    """How far a trial exceeds each of the limits on a measured objective, by option; infinitely
    if it has no value.
    """
    found = {}
    for limit in limits:
        if not limit.is_exact:
            value = trial.value(limit.objective)
            found[limit.option] = math.inf if value is None else limit.violation(value)
    return found


def nearest_plan(limits: Sequence[Constraint], space: Space) -> SharingPlan:
    """A plan that keeps all exact limits, or else the one found that comes nearest to it: chosen
    group by group, then step by step downhill.
    """

    def share(plan: SharingPlan) -> float:
        return max(limit.cost(space, plan) / limit.value for limit in limits)

    plan = space.cheapest(share)
    while share(plan) > 1:
        better = min(space.neighbours(plan), key=share, default=plan)
        if share(better) >= share(plan):
            break
        plan = better
    return plan


def check_possible(limits: Sequence[Constraint], space: Space) -> None:
    """Raise IsoshareError if no plan is found that keeps these exact limits."""
    for limit in limits:
        least = limit.cost(space, nearest_plan([limit], space))
        if limit.violation(least) > 0:
            flag = limit.flag.split()[0]
            raise IsoshareError(
                f"no plan was found that has at most {limit.value:,} {limit.objective}: the "
                f"smallest has {least:,}; raise {flag} or take a smaller backbone"
            )
    if limits and not fits(limits, space, plan := nearest_plan(limits, space)):
        found = (f"{limit.cost(space, plan):,} {limit.objective}" for limit in limits)
        raise IsoshareError(
            f"no plan was found that keeps {' and '.join(limit.flag for limit in limits)}: the "
            f"nearest has {' and '.join(found)}; raise one of them or take a smaller backbone"
        )
