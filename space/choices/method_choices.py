"""What a group, or a whole network, is offered: methods with options that save parameters.

Left out is what cannot help: options with which no bank costs less than the private convolutions
it replaces. Biases are left out of these comparisons, shared or private they change little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import log2
from typing import Any, Protocol

from isoshare.space.errors import PlanError
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank
from isoshare.space.sites import Site


class Suggester(Protocol):
    """The one method of ``optuna.Trial`` that the space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """The sampler's choice."""


@dataclass(frozen=True)
class MethodConfig:
    """A method with complete options, and the sizes of banks for which it saves parameters."""

    method: str
    options: tuple[tuple[str, Any], ...]
    sizes: frozenset[int] = frozenset()

    def parameters(self, sites: Sequence[Site]) -> int:
        """What a bank of these sites costs."""
        return METHODS[self.method].parameters(sites, dict(self.options))

    def overhead(self, site: Site) -> int:
        """What a network-wide bank costs beside the part that each site adds."""
        return 2 * self.parameters([site]) - self.parameters([site, site])

    def saving(self, sites: Sequence[Site]) -> int:
        """What joining a network-wide bank that is there already saves; 0 if they cannot."""
        if not _fit(self.method, sites, dict(self.options)):
            return 0
        bare = _bare(sites)
        added = self.parameters(bare) - self.overhead(bare[0])
        return sum(site.parameters for site in bare) - added


def group_offers(
    sites: Sequence[Site], methods: Sequence[str], known: Sequence[Bank]
) -> Iterator[MethodConfig]:
    """What an isomorphic group is offered.

    known: banks whose options are offered too, where they are within the group.
    """
    if len(sites) < 2:
        return
    bare, names = _bare(sites), {site.name for site in sites}
    ours = [bank for bank in known if names.issuperset(bank.sites)]
    for method in methods:
        for options in _options(method, sites, ours):
            if not _fit(method, sites, options):
                continue
            offer = MethodConfig(method, tuple(sorted(options.items())))
            sizes = frozenset(
                size
                for size in range(2, len(sites) + 1)
                if offer.parameters(bare[:size]) < sum(site.parameters for site in bare[:size])
            )
            if sizes:
                yield replace(offer, sizes=sizes)


def network_offers(
    groups: Sequence[Sequence[Site]], method: str, known: Sequence[Bank]
) -> Iterator[MethodConfig]:
    """What a network is offered of a network-wide method."""
    sites = [site for group in groups for site in group]
    if not sites:
        return
    for options in _options(method, sites, known):
        offer = MethodConfig(method, tuple(sorted(options.items())))
        for places in by_kernel_size(groups):
            savings = [offer.saving(groups[place]) for place in places]
            if sum(saving for saving in savings if saving > 0) > offer.overhead(
                groups[places[0]][0]
            ):
                yield offer
                break


def suggest_offer(
    trial: Suggester, offers: Sequence[MethodConfig], method: str, label: str = ""
) -> MethodConfig | None:
    """The offer that a sampler chooses of a method; None for options that save nothing.

    label: tells the groups apart in the names of the sampler's parameters.
    """
    options = next(dict(offer.options) for offer in offers if offer.method == method)
    for key, values in _varied(offers, method).items():
        name = "/".join(filter(None, (method, key, label)))
        answer = trial.suggest_categorical(name, [str(value) for value in values])
        options[key] = next(value for value in values if str(value) == answer)
    return find_offer(offers, method, options)


def offer_parameters(
    offers: Sequence[MethodConfig], offer: MethodConfig, label: str = ""
) -> dict[str, str]:
    """The inverse of ``suggest_offer``."""
    options = dict(offer.options)
    return {
        "/".join(filter(None, (offer.method, key, label))): str(options.get(key))
        for key in _varied(offers, offer.method)
    }


def find_offer(
    offers: Sequence[MethodConfig], method: str, options: Mapping[str, Any]
) -> MethodConfig | None:
    """The offer with exactly these options; one that is None is not there."""
    wanted = (method, tuple(sorted((k, v) for k, v in options.items() if v is not None)))
    return next((offer for offer in offers if (offer.method, offer.options) == wanted), None)


def option_steps(offers: Sequence[MethodConfig], offer: MethodConfig) -> Iterator[MethodConfig]:
    """Offers that differ in one option, by one step among its values."""
    options = dict(offer.options)
    for key, values in _varied(offers, offer.method).items():
        place = values.index(options.get(key))
        for value in (*values[max(0, place - 1) : place], *values[place + 1 : place + 2]):
            stepped = find_offer(offers, offer.method, {**options, key: value})
            if stepped is not None:
                yield stepped


def middle_offer(offers: Sequence[MethodConfig], sites: Sequence[Site]) -> MethodConfig | None:
    """The offer whose bank of ``sites`` has the middle one of the costs."""
    by_cost = sorted(offers, key=lambda offer: offer.parameters(sites))
    return by_cost[(len(by_cost) - 1) // 2] if by_cost else None


def nearest_offer(
    offers: Sequence[MethodConfig], method: str, options: Mapping[str, Any]
) -> MethodConfig | None:
    """The offer of a method whose options come nearest to these; None if it is not offered.

    Numbers are compared by their logarithms; another word counts as much as a factor of 16.
    """

    def distance(offer: MethodConfig) -> float:
        theirs = dict(offer.options)
        return sum(_apart(theirs.get(key), options.get(key)) for key in {*theirs, *options})

    return min((one for one in offers if one.method == method), key=distance, default=None)


def _apart(one: Any, other: Any) -> float:
    numbers = (one, other)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        return 0.0 if one == other else 4.0
    return abs(log2(1 + one) - log2(1 + other))


def _varied(offers: Sequence[MethodConfig], method: str) -> dict[str, list[Any]]:
    """The options of a method that are offered with more than one value, and their values."""
    given = [dict(offer.options) for offer in offers if offer.method == method]
    keys = dict.fromkeys(key for options in given for key in options)
    values = {key: {options.get(key) for options in given} for key in keys}
    return {
        key: sorted(found, key=lambda value: (value is not None, value))
        for key, found in values.items()
        if len(found) > 1
    }


def by_kernel_size(groups: Sequence[Sequence[Site]]) -> list[list[int]]:
    """The places of the groups that can be in one network-wide bank, together."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group[0].kernel_size, []).append(place)
    return list(places.values())


def _options(method: str, sites: Sequence[Site], known: Sequence[Bank]) -> list[dict[str, Any]]:
    """The options worth trying on these sites, and those of ``known`` banks of the method."""
    option_values = METHODS[method].implementation.option_values(sites)
    names = tuple(site.name for site in sites)
    banks = [
        Bank(method, dict(zip(option_values, values, strict=True)), names)
        for values in product(*option_values.values())
    ]
    banks += [bank for bank in known if bank.method == method]
    return list({tuple(bank.options.items()): dict(bank.options) for bank in banks}.values())


def _fit(method: str, sites: Sequence[Site], options: Mapping[str, Any]) -> bool:
    try:
        METHODS[method].implementation.check(sites, options)
    except PlanError:
        return False
    return True


def _bare(sites: Sequence[Site]) -> list[Site]:
    return [replace(site, bias=False) for site in sites]
