"""Where the networks of a study come from, when the backbone is an object and not a name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Literal

import torch
from torch import nn

from isoshare.evaluators.data.randomness import seed_torch
from isoshare.evaluators.inheriting.weight_projection import inherit
from isoshare.evaluators.training.batches import device
from isoshare.space.apply import (
    apply_plan,
    count_parameters,
    fit,
    plan_parameters,
    shared_copy,
)
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import BackboneError, IsoshareError, one_of
from isoshare.space.inheritance import TrainedWeightsWarning
from isoshare.space.network_copy import copy_network
from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.sites import Site, find_sites, sites_and_private
from isoshare.space.variants.arguments import labels

Model = nn.Module | Callable[..., nn.Module] | str
Weights = Literal["fresh", "inherit"]


@dataclass(frozen=True)
class NetworkSource:
    """A backbone and where the shared networks made from it start.

    model: a module, which is never changed; a function that makes one; or a name, as
        ``--backbone`` takes it.
    weights: fresh: all weights are drawn anew for each seed: a function is called again, of a
        module every part that has ``reset_parameters`` is reset. inherit: those of the model, or of
        what the function makes, projected onto the plan.
    arguments: of the function, for plans that name no variant.
    """

    model: Model
    weights: Weights = "fresh"
    arguments: Variant = ()

    def __post_init__(self) -> None:
        if self.weights not in ("fresh", "inherit"):
            raise IsoshareError(one_of("weights", self.weights, ("fresh", "inherit")))
        if not callable(self.model) and not isinstance(self.model, str):
            raise BackboneError(
                "the model has to be a torch.nn.Module, a function that makes one, or a name, got "
                f"a {type(self.model).__name__}"
            )

    @classmethod
    def of(cls, model: Model, weights: Weights, arguments: Variant = ()) -> NetworkSource:
        """A source with a copy of the model. Raises BackboneError if it cannot be copied."""
        copied = copy_network(model) if isinstance(model, nn.Module) else model
        return cls(copied, weights, arguments)

    @property
    def name(self) -> str:
        """``package.module:name`` of the class or the function, or the name that was given."""
        if isinstance(self.model, str):
            return self.model
        made = type(self.model) if isinstance(self.model, nn.Module) else self.model
        made = getattr(made, "func", made)  # functools.partial
        return f"{made.__module__}:{getattr(made, '__qualname__', type(made).__name__)}"

    def backbone(self, seed: int = 0, variant: Variant = ()) -> nn.Module:
        """The unshared network as it starts with this seed. Raises BackboneError."""
        arguments = dict(variant or self.arguments)
        with torch.random.fork_rng():
            seed_torch(seed)
            if isinstance(self.model, nn.Module):
                return self._module(self.model)
            if isinstance(self.model, str):
                return build_backbone(self.model, arguments)
            network = _called(partial(self.model, **arguments))
        if not isinstance(network, nn.Module):
            kind = type(network).__name__
            raise BackboneError(f"the model has to be a torch.nn.Module, {self.name} made a {kind}")
        return network

    def network(self, plan: SharingPlan, seed: int) -> nn.Module:
        """The shared network on the device, as training starts from it. Raises PlanError."""
        backbone = self.backbone(seed, plan.variant)
        with torch.random.fork_rng():
            seed_torch(seed)
            network = self._shared(backbone, plan)
        expected, counted = self.parameters(plan), count_parameters(network)
        if counted != expected:
            raise BackboneError(f"{counted} parameters were built where {expected} were expected")
        return _on_device(network)

    def parameters(self, plan: SharingPlan) -> int:
        """Trainable parameters of the shared network, in closed form."""
        if plan.variant not in self._counted:
            backbone = self.backbone(0, plan.variant)
            self._counted[plan.variant] = find_sites(backbone), count_parameters(backbone)
        return plan_parameters(plan, *self._counted[plan.variant])

    def draws(self, variant: Variant = ()) -> bool:
        """Whether a function draws all kernels of what it makes, so that none has learned."""
        if isinstance(self.model, nn.Module):
            return False
        pair = [dict(self.backbone(seed, variant).named_parameters()) for seed in (0, 1)]
        kernels = [name for name, one in pair[0].items() if one.dim() > 1]
        return not any(torch.equal(*(some[name] for some in pair)) for name in kernels)

    @cached_property
    def _counted(self) -> dict[Variant, tuple[tuple[Site, ...], int]]:
        """Sites and parameters of each variant, once it has been counted."""
        return {}

    def _shared(self, backbone: nn.Module, plan: SharingPlan) -> nn.Module:
        """``backbone`` with its weights shared; it is looked at again unless it is our own copy."""
        if self.weights == "inherit":
            return inherit(backbone, plan)[0]
        if not isinstance(self.model, nn.Module):
            return apply_plan(backbone, plan, weights="fresh")
        return shared_copy(backbone, fit(plan, *self._own_sites))

    @cached_property
    def _own_sites(self) -> tuple[tuple[Site, ...], dict[str, str]]:
        """Sites of our own copy of the module, and why the rest of it stays private."""
        assert isinstance(self.model, nn.Module), "a function may make another one each time"
        return sites_and_private(self.model)

    def _module(self, module: nn.Module) -> nn.Module:
        """Our own copy of the module: whoever applies a plan to it copies it again."""
        if self.weights == "fresh":
            module.apply(_reset)
        return module


def warn_of_chance(source: NetworkSource, variants: Iterable[Variant]) -> None:
    """Warn of variants from which plans would inherit weights that have learned nothing."""
    drawn = [variant for variant in variants if source.draws(variant)]
    if drawn:
        which = f" of {labels(drawn)}" if drawn[0] else ""
        warnings.warn(
            f"weights='inherit', but {source.name} draws the weights{which} anew at each call, so "
            "there is nothing to inherit: let it return trained networks, or take weights='fresh'",
            TrainedWeightsWarning,
            stacklevel=4,
        )


def _called(make: Callable[..., nn.Module]) -> object:
    try:
        return make()
    except BackboneError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise BackboneError(
            f"the function that makes the model failed: {type(error).__name__}: {error}"
        ) from error


def _on_device(network: nn.Module) -> nn.Module:
    """``network.to(device())``, which takes a while even where nothing has to move."""
    target = device()
    tensors = chain(network.parameters(), network.buffers())
    return network if all(one.device == target for one in tensors) else network.to(target)


def _reset(part: nn.Module) -> None:
    reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
    if callable(reset):
        reset()
