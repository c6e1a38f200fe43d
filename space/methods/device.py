"""What a device holds of a network: kernels, and vectors of one number a channel.

A normalisation behind a convolution is not computed at run time. A kernel that one convolution uses
takes its factors up and leaves a bias; a kernel that several use must stay as it is, so factors and
shifts are kept for each use. In int8 every convolution has a scale and an int32 bias a channel,
which hold its normalisation too. Generated kernels are held as they are once made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from isoshare.space.sites import Site

Target = Literal["float32", "int8"]
TARGETS: tuple[Target, ...] = ("float32", "int8")

WORD_BYTES = 4
"""A float32; a scale or a bias of int8 arithmetic."""


class Uses(NamedTuple):
    """How one image uses a layer: how often it is called, and how many different normalisations
    stand right behind these calls.
    """

    calls: int = 1
    norms: int = 0


class Held(NamedTuple):
    """Numbers on a device.

    kernels: elements of kernels, each kernel once. vectors: biases, factors and shifts in float32.
    channels: out-channels of all convolutions that run, each with a scale and a bias in int8.
    """

    kernels: int = 0
    vectors: int = 0
    channels: int = 0

    def plus(self, *others: Held) -> Held:
        """The sum."""
        return Held(*map(sum, zip(self, *others, strict=True)))

    def bytes(self, target: Target) -> int:
        """In 32-bit floating point, or with kernels of 8 bits."""
        if target == "float32":
            return WORD_BYTES * (self.kernels + self.vectors)
        return self.kernels + 2 * WORD_BYTES * self.channels


def own_kernel(kernel: int, width: int, has_bias: bool, uses: Uses) -> Held:
    """A layer with a kernel of its own, of ``kernel`` elements and ``width`` out-channels.

    Called more often than once it is a shared kernel like any other.
    """
    if uses.calls > 1:
        return Held(kernel, width if has_bias else 0).plus(shared(width, uses))
    return Held(kernel, width if has_bias or uses.norms else 0, width)


def own_site(site: Site, uses: Uses) -> Held:
    """An ordinary convolution with a kernel of its own."""
    return own_kernel(site.kernel_parameters, site.out_channels, site.has_bias, uses)


def shared(width: int, uses: Uses) -> Held:
    """The calls of a layer whose kernel and bias are counted elsewhere."""
    return Held(0, 2 * width * uses.norms, width * uses.calls)


def one_kernel(kernel: int, width: int, has_bias: bool, uses: Iterable[Uses]) -> Held:
    """A kernel, and a bias if there is one, with all the layers that use them."""
    every = tuple(uses)
    together = Uses(sum(one.calls for one in every), sum(one.norms for one in every))
    return own_kernel(kernel, width, has_bias, together)
