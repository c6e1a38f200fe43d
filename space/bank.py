"""Banks: trained tensors that several sites share. Values without torch, as plans are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from isoshare.space.errors import PlanError, first_problem, one_of, short
from isoshare.space.methods import METHODS
from isoshare.space.natural_order import natural_order


@dataclass(frozen=True, repr=False)
class Bank:
    """Trained tensors used by several sites, with the method that makes each site's weight.

    Raises PlanError for an unknown method, unknown or wrong options, no site, or a site twice.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise PlanError(one_of("method", self.method, METHODS))
        object.__setattr__(self, "options", _complete(self.method, self.options))
        object.__setattr__(self, "sites", _sorted_sites(self.sites))

    def __hash__(self) -> int:
        return hash((self.method, tuple(self.options.items()), self.sites))

    def __repr__(self) -> str:
        """Python that makes it, to be pasted."""
        return f"Bank({self.method!r}, {dict(self.options)!r}, {self.sites!r})"

    def __reduce__(self) -> tuple[type[Bank], tuple[str, dict[str, Any], tuple[str, ...]]]:
        # A mapping proxy cannot be pickled; workers receive plans by pickle.
        return Bank, (self.method, dict(self.options), self.sites)

    @property
    def document(self) -> dict[str, Any]:
        """The bank as it stands in a plan file."""
        return {"method": self.method, "options": dict(self.options), "sites": list(self.sites)}


def checked_banks(banks: Iterable[Bank]) -> tuple[Bank, ...]:
    """The banks of a plan. Raises PlanError if they are no banks."""
    found = tuple(banks) if isinstance(banks, Iterable) else ()
    if not isinstance(banks, Iterable) or not all(isinstance(bank, Bank) for bank in found):
        raise PlanError(f"the banks of a plan are a tuple of Bank, got {short(banks)}")
    return found


def _complete(method: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(options, Mapping):
        raise PlanError(
            "a bank is Bank(method, options, sites), with the options in a dict, {} for none: got "
            f"{short(options)}"
        )
    try:
        known = METHODS[method].options.model_validate(dict(options))
    except ValidationError as error:
        allowed = ", ".join(METHODS[method].options.model_fields) or "no options at all"
        raise PlanError(
            f"wrong options for method {method!r}: {first_problem(error)}; it takes {allowed}"
        ) from error
    return MappingProxyType(dict(sorted(known.model_dump(exclude_none=True).items())))


def _sorted_sites(sites: Iterable[str]) -> tuple[str, ...]:
    if isinstance(sites, str) or not isinstance(sites, Iterable):
        raise PlanError(f"the sites of a bank are a tuple of names, got {short(sites)}")
    names = tuple(sites)
    if not names or not all(isinstance(name, str) for name in names):
        raise PlanError(f"a bank needs at least one site, each a module path, got {short(names)}")
    ordered = tuple(sorted(names, key=natural_order))
    for name, following in pairwise(ordered):
        if name == following:
            raise PlanError(f"a site can be in a bank once: {short(name)} is there twice")
    return ordered
