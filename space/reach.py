"""What of a network sharing can touch, and where the rest of its parameters is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from isoshare.space.sites import Site, isomorphic_groups, sites_and_private

if TYPE_CHECKING:
    from torch import nn

ALONE = "no other layer has this shape"


class Place(NamedTuple):
    """Parameters that sharing cannot touch.

    what: why, or what kind of module they are in; modules: their names, the largest one first.
    """

    what: str
    parameters: int
    modules: tuple[str, ...]


def reach(sites: Sequence[Site], unshared: int) -> float:
    """The share of a network's parameters in isomorphic groups: the most that most methods can
    touch.

    unshared: trainable parameters of the network.
    """
    return _held(isomorphic_groups(sites), unshared)


def wide_reach(sites: Sequence[Site], unshared: int) -> float:
    """The same of network-wide methods, for which plain layers of one kernel size are enough."""
    by_size: dict[tuple[int, ...], list[Site]] = {}
    for site in sites:
        if not site.subclass:
            by_size.setdefault(site.kernel_size, []).append(site)
    return _held([group for group in by_size.values() if len(group) > 1], unshared)


def out_of_reach(network: nn.Module) -> list[Place]:
    """Where all trainable parameters outside of isomorphic groups are, most of them first."""
    places: dict[str, dict[str, int]] = {}
    for what, module, size in _each(network):
        held = places.setdefault(what, {})
        held[module] = held.get(module, 0) + size
    found = [
        Place(what, sum(held.values()), tuple(sorted(held, key=held.__getitem__, reverse=True)))
        for what, held in places.items()
    ]
    return sorted(found, key=lambda place: place.parameters, reverse=True)


def _held(groups: Iterable[Sequence[Site]], unshared: int) -> float:
    held = sum(site.parameters for group in groups for site in group)
    return held / unshared if unshared else 0.0


def _each(network: nn.Module) -> Iterator[tuple[str, str, int]]:
    """(why, name of a module, parameters of its own) for each module; a tied tensor counts once."""
    sites, private = sites_and_private(network)
    shared = {site.name for group in isomorphic_groups(sites) for site in group}
    alone = {site.name for site in sites} - shared
    seen: set[int] = set()
    for name, part in network.named_modules():
        own = [t for t in part.parameters(recurse=False) if t.requires_grad and id(t) not in seen]
        seen |= {id(tensor) for tensor in own}
        size = sum(tensor.numel() for tensor in own)
        if size and name not in shared:
            why = ALONE if name in alone else private.get(name)
            yield why or type(part).__name__, name or "the network itself", size
