"""Take trained weights over to a shared network, and notice where they would be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.space.errors import WeightsError
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank
from isoshare.space.sites import Site

Fitted = Sequence[tuple[Bank, Sequence[Site]]]
"""Banks with their sites in module order, as ``apply.fit`` returns them."""


class TrainedWeightsWarning(UserWarning):
    """Trained weights are replaced by fresh ones."""


def project_weights(
    source: nn.Module,
    network: nn.Module,
    banks: Fitted,
    importance: Mapping[str, Tensor] | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Bring the banks of ``network`` close to the kernels of ``source``, site by site.

    network: ``source``, shared by ``banks``. importance: for each site how much the loss depends on
    each element of its kernel; without it all count alike. Returns for each site the kernel of
    ``source`` and the one that comes out, (out, in/groups, k, k), up to a positive factor.
    Raises WeightsError for complex kernels.
    """
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for bank, sites in banks:
        kernels = [_kernel(source, site) for site in sites]
        weights = [
            torch.ones_like(kernel) if importance is None else importance[site.name]
            for kernel, site in zip(kernels, sites, strict=True)
        ]
        method = METHODS[bank.method].implementation
        made = method.project(network, sites, bank.options, kernels, weights)
        pairs |= {
            site.name: (wanted, found)
            for site, wanted, found in zip(sites, kernels, made, strict=True)
        }
    return pairs


def signs_of_training(network: nn.Module) -> str:
    """Which module shows that ``network`` is not freshly initialised, and how; "" if none does.

    Only normalisations show it: they start with constants, and count what they have seen.
    """
    for name, part in network.named_modules():
        counted = getattr(part, "num_batches_tracked", None)
        if isinstance(counted, Tensor) and not counted.is_meta and counted > 0:
            return f"{name!r} has seen {int(counted)} batches"
        scales = part._parameters.get("weight") if _is_norm(part) else None
        if scales is None or scales.is_meta:
            continue
        if not bool((scales == scales.flatten()[0]).all()):
            return f"the scales of {name!r} have been trained"
    return ""


def refuse_disagreement(
    network: nn.Module, state: Mapping[str, Any], prefix: str, metadata: dict[str, Any], *_: Any
) -> None:
    """A hook before ``load_state_dict``: WeightsError if tensors of ``state`` that are one tensor
    in ``network`` differ from one another, as they do in a state of the unshared network, and for
    ``assign=True``, after which each name would have a tensor of its own.
    """
    if metadata.pop("assign_to_params_buffers", False):  # torch leaves it in the state for good
        raise WeightsError(
            "load_state_dict(..., assign=True) puts a new tensor in each place, so that what is "
            "shared here would be trained apart: load without it"
        )
    first: dict[int, str] = {}
    for name, tensor in network.named_parameters(remove_duplicate=False):
        key = prefix + name
        if key not in state:
            continue
        known = first.setdefault(id(tensor), key)
        if known != key and not torch.equal(state[known], state[key]):
            raise WeightsError(
                f"{known!r} and {key!r} are one tensor in this network, but the weights have two "
                "that differ, as an unshared network has: load them into the unshared network, "
                "then apply_plan(network, plan, weights='inherit')"
            )


def _is_norm(part: nn.Module) -> bool:
    kinds = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    return isinstance(part, kinds)


def _kernel(network: nn.Module, site: Site) -> Tensor:
    conv: Any = network.get_submodule(site.name)
    weight: Tensor = conv.weight.detach()
    if weight.is_meta:
        raise WeightsError(
            f"there is nothing to take over: the weights of {site.name!r} are on the meta device, "
            "without numbers; load them before the network is shared, or start afresh "
            "(weights='fresh')"
        )
    if weight.is_complex():
        raise WeightsError(
            f"trained weights are taken over where they are real, those of {site.name!r} are "
            f"{weight.dtype}: leave its site out of the plan, or start afresh (weights='fresh')"
        )
    return weight
