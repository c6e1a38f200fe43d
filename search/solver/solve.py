"""Solve in Python: a plan for a budget from a trained network, with one's own batches and loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from numbers import Real
from typing import TYPE_CHECKING, Any

from isoshare.search.constraints import exact_limits
from isoshare.search.solver.plan_solver import ADDITIVE, PlanSolver
from isoshare.search.solver.variant_solver import Ends, VariantSolver
from isoshare.space.errors import IsoshareError, short
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.search_space import SearchSpace
from isoshare.space.type_checks import checked_methods
from isoshare.space.variants.arguments import combinations

if TYPE_CHECKING:
    from torch import nn

    from isoshare.evaluators.sensitivities.pair_losses import Loss


class Solver:
    """Plans for any budget from one trained network, which is measured once.

    model: trained, in float32 or float64; it stays as it is. batches: pairs of inputs and targets,
    some hundred inputs in all, in any order; inputs are what ``model`` takes, a tensor or several.
    methods: those that plans may use, all by default. loss: of the model's outputs and the targets,
    a mean; with it pairs of layers count more whose tying adds more of it, which takes a pass over
    the batches for each pair.

    vary: arguments of a function that makes networks, which is given as ``model`` then, and the
    values that each may take: ``{"width": [8, 16]}``. Plans are those of all combinations, and say
    which as ``variant``. train: trains a network in place and returns its accuracy; called twice
    for each combination, with the network as it is and with all that can be shared in it shared.
    """

    def __init__(  # noqa: PLR0913  what is measured on what, and what may vary
        self,
        model: nn.Module | Callable[..., nn.Module],
        batches: Iterable[tuple[Any, Any]],
        *,
        methods: Sequence[str] | None = None,
        loss: Loss | None = None,
        vary: Mapping[str, Sequence[Any]] | None = None,
        train: Callable[[nn.Module], float] | None = None,
    ) -> None:
        if loss is not None and not callable(loss):
            raise IsoshareError(
                f"loss has to be a function of outputs and targets, got {short(loss)}"
            )
        chosen = checked_methods((methods,) if isinstance(methods, str) else methods or METHODS)
        measure = partial(_measured, methods=chosen, loss=loss)
        self._solver: PlanSolver | VariantSolver
        if vary:
            self._solver = _over_variants(model, list(batches), vary, train, measure)
        elif train is not None:
            raise IsoshareError("train is for the networks of vary: give it, or leave train out")
        else:
            self._solver = one = measure(model, batches)
            self.space, self.scores = one.space, one.scores

    def plan(self, **budgets: int) -> SharingPlan:
        """The plan of the lowest score within ``max_parameters``, ``max_bytes``, ``max_macs``,
        ``max_device_bytes`` or several of them.

        Raises IsoshareError if none keeps them; the sentence says what the smallest is.
        """
        for name, value in budgets.items():
            if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
                raise IsoshareError(f"{name} has to be a number above 0, got {short(value)}")
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


def _over_variants(
    make: nn.Module | Callable[..., nn.Module],
    batches: Sequence[tuple[Any, Any]],
    vary: Mapping[str, Sequence[Any]],
    train: Callable[[nn.Module], float] | None,
    measure: Callable[..., PlanSolver],
) -> VariantSolver:
    """Both ends of each variant are trained, and the unshared one is measured."""
    from torch import nn

    from isoshare.space.apply import apply_plan

    if isinstance(make, nn.Module) or train is None:
        raise IsoshareError(
            "vary needs the function that makes a network of these arguments in place of a model, "
            "and train, which trains one and returns its accuracy"
        )
    solvers, ends = {}, {}
    for variant in combinations(vary):
        network = make(**dict(variant))
        unshared = float(train(network))
        solver = solvers[variant] = measure(network.eval(), batches, variant=variant)
        plan = solver.space.fully_shared_plan()
        shared = apply_plan(make(**dict(variant)), plan, weights="fresh")
        ends[variant] = Ends(unshared, float(train(shared)))
    return VariantSolver(solvers, ends)


def _measured(
    model: Any,
    batches: Iterable[tuple[Any, Any]],
    *,
    methods: Sequence[str],
    loss: Loss | None,
    variant: Variant = (),
) -> PlanSolver:
    """What solves for one trained network. Raises IsoshareError."""
    from torch import Tensor

    from isoshare.evaluators.data.examples import mapped
    from isoshare.evaluators.own_code.own_batches import checked_batches
    from isoshare.evaluators.sensitivities.sensitivity import score_sharing
    from isoshare.space.apply import count_parameters
    from isoshare.space.passes.acting_sites import acting_sites, participation
    from isoshare.space.passes.forward_pass import network_costs
    from isoshare.space.sites import find_sites

    rest = checked_batches(model, batches, "some hundred inputs with their targets")
    first = next(rest)
    unshared, found = count_parameters(model), find_sites(model)
    two = mapped(lambda tensor: tensor[:2], first[0])
    sites = acting_sites(model, found, unshared, methods, two)
    for said in participation(found, sites):
        warnings.warn(said, stacklevel=3)
    costs = network_costs(model, sites, two[:1]) if isinstance(two, Tensor) else None
    space = SearchSpace(sites, unshared, methods, costs=costs, variant=variant)
    return PlanSolver(space, score_sharing(model, space, chain([first], rest), loss=loss))


def solve(
    model: nn.Module, batches: Iterable[tuple[Any, Any]], loss: Loss | None = None, **budgets: int
) -> SharingPlan:
    """The plan for one budget. The arguments are those of ``Solver`` and ``Solver.plan``.

    Several budgets, or the whole front, come quicker from one ``Solver``.
    """
    return Solver(model, batches, loss=loss).plan(**budgets)
