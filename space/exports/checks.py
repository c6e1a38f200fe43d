"""What is looked at before a network is written for other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isoshare.space.errors import IsoshareError, in_one_line, listed

if TYPE_CHECKING:
    from torch import nn


def computed(network: nn.Module, images: Tensor) -> Tensor:
    """What a network, in evaluation, makes of images. Raises IsoshareError where it cannot, or
    makes something else than one tensor.
    """
    sides = "x".join(map(str, images.shape[1:]))
    try:
        with torch.no_grad():
            found = network(images)
    except Exception as error:  # whatever the user's network raises
        raise IsoshareError(
            f"the network cannot take images of {sides}: {in_one_line(error)}; give images as it "
            "was trained on"
        ) from error
    if not isinstance(found, Tensor):
        raise IsoshareError(
            f"the network returns a {type(found).__name__}, and these files have one output: "
            "wrap it in a module that returns one tensor"
        )
    return found


def check_numbers(network: nn.Module) -> None:
    """Raise IsoshareError that names weights that are no finite numbers. Buffers may be infinite,
    as masks are.
    """
    broken = [name for name, one in network.named_parameters() if not bool(one.isfinite().all())]
    broken += [name for name, one in network.named_buffers() if bool(one.isnan().any())]
    refuse_broken(broken)


def refuse_broken(broken: Sequence[str]) -> None:
    """Raise IsoshareError if there are names."""
    if broken:
        raise IsoshareError(
            f"weights that are NaN or infinite cannot be exported, and these are: "
            f"{listed(broken, 3)}; train the network again, with a lower rate"
        )


def check_images(batches: Sequence[Tensor]) -> None:
    """Raise IsoshareError unless there are images to fit 8 bits to, all of finite numbers."""
    if not sum(len(batch) for batch in batches):
        raise IsoshareError("8 bits are fitted to images, and there are none: give some batches")
    if not all(bool(batch.isfinite().all()) for batch in batches):
        raise IsoshareError(
            "8 bits are fitted to images, and some numbers of these are NaN or infinite"
        )
