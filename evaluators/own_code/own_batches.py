"""Batches that a caller in Python gives: pairs of inputs and targets, as in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from isoshare.evaluators.data.examples import pair
from isoshare.space.errors import IsoshareError, short, typed_in_one_line
from isoshare.space.network_copy import copy_network
from isoshare.space.type_checks import check_network

PRECISIONS = (torch.float32, torch.float64)


def checked_batches(
    network: nn.Module, batches: Iterable[Any], enough: str
) -> Iterator[tuple[Any, Any]]:
    """The inputs and targets of each batch, as they come.

    enough: what to give, where there is nothing. Raises BackboneError for what is no network, and
    IsoshareError for what are no batches, for inputs that the network cannot take, with NaN or
    without end, and for a network of half precision, in which nothing can be solved for.
    """
    check_network(network)
    if not isinstance(batches, Iterable):
        raise IsoshareError(f"batches are pairs of inputs and targets, got {short(batches)}")
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise IsoshareError(f"there are no batches: give {enough}")
    _check_precision(network)
    inputs, _ = pair(first, "a batch")
    some = inputs[:2] if isinstance(inputs, Tensor) else inputs
    check_taken(network, some, "the inputs of the first batch")
    for batch in chain([first], rest):
        inputs, targets = pair(batch, "a batch")
        if not all(bool(leaf.isfinite().all()) for leaf in _numbers(inputs)):
            raise IsoshareError("the inputs of a batch have NaN or infinite values: leave it out")
        yield inputs, targets


def _check_precision(network: nn.Module) -> None:
    for name, tensor in network.named_parameters():
        if tensor.is_floating_point() and tensor.dtype not in PRECISIONS:
            raise IsoshareError(
                f"{name} is {tensor.dtype}, in which too little is left to solve for: give "
                "model.float() and inputs in float32, and convert the shared network afterwards"
            )


@torch.no_grad()
def check_taken(network: nn.Module, inputs: Any, what: str) -> None:
    """Raise IsoshareError, which calls the inputs ``what``, if the network cannot take them."""
    try:
        copy_network(network).eval()(inputs)
    except IsoshareError:
        raise
    except Exception as error:  # whatever the network of the user raises
        raise IsoshareError(
            f"the network cannot take {what}: {typed_in_one_line(error)}; give what it is trained "
            "on, as a DataLoader does"
        ) from error


def _numbers(inputs: Any) -> list[Tensor]:
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point()]
