"""Which sites a search may decide on, where a sample of the network's input is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isoshare.space.apply import fit
from isoshare.space.errors import PlanError, listed
from isoshare.space.methods import METHODS
from isoshare.space.passes.sample_pass import check_acting, taking_part
from isoshare.space.plan import Bank
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site

if TYPE_CHECKING:
    from torch import nn

Fitted = tuple[Bank, list[Site]]
EXAMPLES = 3
"""Sites that a sentence names."""


def acting_sites(
    network: nn.Module, sites: Sequence[Site], unshared: int, methods: Sequence[str], sample: Any
) -> tuple[Site, ...]:
    """Those of ``sites`` that get a gradient from ``sample``; those whose weight the network reads
    past a method count as a subclass with ways of its own, which can share by kernel alone.

    unshared, methods: as ``SearchSpace`` takes them; sample: an input, of two images or more.
    All sites if the network cannot take it.
    """
    try:
        known = taking_part(network, sites, sample)
    except Exception:  # whatever the user's network raises: then no sample is known
        return tuple(sites)
    acting = [site for site in sites if site.name in known]
    starts = SearchSpace(acting, unshared, methods).warm_starts()
    plans = [starts["fully shared"], *(starts[f"start: {name}"] for name in methods[1:])]
    past: set[str] = set()
    stale: set[str] = set()
    for method, plan in zip(methods, plans, strict=True):
        found = set(_refused(network, fit(plan, acting), known, sample))
        (stale if METHODS[method].trivial_alone else past).update(found)
    return tuple(
        replace(site, subclass=True) if site.name in past else site
        for site in acting
        if site.name not in stale
    )


def participation(found: Sequence[Site], acting: Sequence[Site]) -> Iterator[str]:
    """Sentences about what ``acting_sites`` has made of the sites that were found."""
    known = {site.name: site for site in acting}
    idle = [repr(site.name) for site in found if site.name not in known]
    past = [
        repr(site.name)
        for site in found
        if site.name in known and known[site.name].subclass and not site.subclass
    ]
    if idle:
        yield (
            f"{listed(idle, EXAMPLES)} get no gradient from a sample, or only past their layers: "
            "they stay private"
        )
    if past:
        yield (
            f"the network reads the weights of {listed(past, EXAMPLES)} in ways of its own, so "
            "they can share by method kernel alone"
        )


def _refused(
    network: nn.Module, banks: Sequence[Fitted], known: set[str], sample: Any
) -> Iterator[str]:
    """The names of sites that cannot be in their banks: first all are tried together, then bank by
    bank, then site by site.
    """
    if not banks:
        return
    with suppress(PlanError):
        check_acting(network, banks, sample, known)
        return
    if len(banks) > 1:
        for one in banks:
            yield from _refused(network, [one], known, sample)
        return
    bank, sites = banks[0]
    if METHODS[bank.method].trivial_alone or len(sites) == 1:
        yield from bank.sites
        return
    alone = [(replace(bank, sites=(site.name,)), [site]) for site in sites]
    found = [name for one in alone for name in _refused(network, [one], known, sample)]
    yield from found or bank.sites
