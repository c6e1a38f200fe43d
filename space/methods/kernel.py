"""Kernel sharing: Azadbakht, Khalfaoui-Hassani, Kheradpisheh, Masquelier 2022, arXiv 2210.14151.

All sites of a bank use one kernel tensor (and one bias, where they have a bias); everything else,
batch normalisation above all, stays private.

The convolutions stay what they are, they only hold the same ``nn.Parameter``: forward and backward
cost nothing extra, autograd sums the gradients of the uses (section 3 of the paper), and whatever
works on the unshared network (hooks, ``torch.compile``, export) works on the shared one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from space.errors import PlanError
from space.sites import Site, describe

if TYPE_CHECKING:
    from torch import nn


def check(sites: Sequence[Site], options: dict[str, Any]) -> None:
    """Kernel sharing needs isomorphic sites."""
    first = sites[0]
    for site in sites:
        if site.signature != first.signature:
            raise PlanError(
                "a kernel bank needs isomorphic sites: "
                f"{describe(first)}, but {describe(site)}; put them in different banks"
            )


def parameters(sites: Sequence[Site], options: dict[str, Any]) -> int:
    """One kernel ``out x in/groups x k x k``, and one bias ``out`` if any site has a bias."""
    bias = sites[0].out_channels if any(site.bias for site in sites) else 0
    return sites[0].kernel_parameters + bias


def share(network: nn.Module, sites: Sequence[Site], options: dict[str, Any]) -> None:
    """Give every site the kernel of the first one, and the bias of the first that has one.

    Ordinary initialisation: the shared tensor is what the network's own constructor made.
    """
    convolutions = [network.get_submodule(site.name) for site in sites]
    biases = [conv.bias for conv in convolutions if conv.bias is not None]
    for conv in convolutions:
        conv.weight = convolutions[0].weight
        if conv.bias is not None:
            conv.bias = biases[0]
