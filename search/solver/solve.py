"""Solve in Python: a plan for a budget from a trained network, with one's own batches and loss."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.search.constraints import exact_limits
from isoshare.search.solver.plan_solver import ADDITIVE, PlanSolver
from isoshare.space.errors import IsoshareError
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from isoshare.evaluators.sensitivities.pair_losses import Loss


class Solver:
    """Plans for any budget from one trained network, which is measured once.

    model: trained; it stays as it is. batches: pairs of inputs and targets, some hundred inputs in
    all, in any order. methods: those that plans may use, all by default. loss: of the model's
    outputs and the targets, a mean; with it pairs of layers count more whose tying adds more of it,
    which takes a pass over the batches for each pair.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[tuple[Any, Any]],
        *,
        methods: Sequence[str] | None = None,
        loss: Loss | None = None,
    ) -> None:
        from isoshare.evaluators.sensitivities.sensitivity import score_sharing
        from isoshare.space.apply import count_parameters
        from isoshare.space.passes.acting_sites import acting_sites, participation
        from isoshare.space.passes.forward_pass import network_costs
        from isoshare.space.sites import find_sites

        rest = iter(batches)
        first = next(rest, None)
        if first is None:
            raise IsoshareError("there are no batches: give some hundred inputs with their targets")
        known = tuple(methods or METHODS)
        unshared, found = count_parameters(model), find_sites(model)
        sites = acting_sites(model, found, unshared, known, first[0][:2])
        for said in participation(found, sites):
            warnings.warn(said, stacklevel=2)
        costs = network_costs(model, sites, first[0][:1])
        self.space = SearchSpace(sites, unshared, known, costs=costs)
        self.scores: PlanScores = score_sharing(model, self.space, chain([first], rest), loss=loss)
        self._solver = PlanSolver(self.space, self.scores)

    def plan(self, **budgets: int) -> SharingPlan:
        """The plan of the lowest score within ``max_parameters``, ``max_bytes``, ``max_macs``,
        ``max_device_bytes`` or several of them.

        Raises IsoshareError if none keeps them; the sentence says what the smallest is.
        """
        limits = exact_limits(budgets)
        if not limits or len(limits) < len(budgets):
            known = ", ".join(f"max_{name}" for name in ADDITIVE)
            raise IsoshareError(
                f"budgets are {known}, one at least, got {', '.join(budgets) or 'none'}"
            )
        return self._solver.solve(limits).plan

    def front(self) -> list[SharingPlan]:
        """The plans that are expected to be best for their parameters, the smallest first."""
        return [one.plan for one in self._solver.front()]


def solve(
    model: nn.Module, batches: Iterable[tuple[Any, Any]], loss: Loss | None = None, **budgets: int
) -> SharingPlan:
    """The plan for one budget. The arguments are those of ``Solver`` and ``Solver.plan``.

    Several budgets, or the whole front, come quicker from one ``Solver``.
    """
    return Solver(model, batches, loss=loss).plan(**budgets)
