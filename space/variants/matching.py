"""Whether a network is the variant of the backbone that a plan names, as far as files can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoshare.space.errors import PlanError
from isoshare.space.plan import ParameterCounts, SharingPlan
from isoshare.space.variants.arguments import label
from isoshare.space.weights.weight_misfits import head_tensors

if TYPE_CHECKING:
    from torch import nn


def check_variant(
    plan: SharingPlan, known: ParameterCounts, network: nn.Module, counted: tuple[int, int]
) -> None:
    """Raise PlanError if ``network`` cannot be the variant that ``plan`` names.

    known: what its file counts; counted: parameters of ``network`` without and with the plan. What
    the plan saves tells other shapes of the sites that share; the whole tells other layers beside
    them, but for a head of another number of classes, which a plan may be applied to.
    """
    unshared, shared = counted
    same_shapes = unshared - shared == known.unshared - known.shared
    if same_shapes and (unshared - known.unshared) % _of_a_class(network) == 0:
        return
    raise PlanError(
        f"the plan is for the variant {label(plan.variant)}, with {known.unshared:,} parameters "
        f"unshared and {known.shared:,} shared, and this network is another one, with "
        f"{unshared:,} and {shared:,}{told_variant(plan)}"
    )


def told_variant(plan: SharingPlan) -> str:
    """How to make the network that the plan is for; empty where it names no variant."""
    if not plan.variant:
        return ""
    return f"; make the network with {', '.join(label((one,)) for one in plan.variant)}"


def _of_a_class(network: nn.Module) -> int:
    """Parameters of the head that one class has."""
    tensors = (network.get_parameter(name) for name in head_tensors(network))
    return sum(tensor[0].numel() for tensor in tensors) or 1
