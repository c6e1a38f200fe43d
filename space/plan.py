"""Sharing plans: which sites share weights, and by which method. Values without torch.

A ``SharingPlan`` is always valid in itself and in canonical form, so two plans that build the same
network are equal and have the same fingerprint:

- the sites of a bank and the banks of a plan are sorted by *natural order* of their names
  (``layer1.2`` before ``layer1.10``), so a plan needs no network to be canonical;
- options are complete, with defaults, and sorted;
- a bank of one site that changes nothing (one kernel site) is no bank.

Whether the sites exist and have the right shapes only a network can tell: ``apply_plan`` does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isoshare.space.errors import PlanError, first_problem, one_of, short
from isoshare.space.files import atomic_write
from isoshare.space.methods import METHODS
from isoshare.space.natural_order import natural_order

SCHEMA = "isoshare.plan/1"


@dataclass(frozen=True)
class Bank:
    """Trained tensors used by several sites, with the method that makes each site's weight.

    Raises PlanError for an unknown method, unknown or wrong options, no site, or a site twice.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise PlanError(one_of("method", self.method, METHODS))
        object.__setattr__(self, "options", _complete(self.method, self.options))
        object.__setattr__(self, "sites", _sorted_sites(self.sites))

    def __hash__(self) -> int:
        return hash((self.method, tuple(self.options.items()), self.sites))

    def __reduce__(self) -> tuple[type[Bank], tuple[str, dict[str, Any], tuple[str, ...]]]:
        # A mapping proxy cannot be pickled; workers receive plans by pickle.
        return Bank, (self.method, dict(self.options), self.sites)

    @property
    def document(self) -> dict[str, Any]:
        """The bank as it stands in a plan file."""
        return {"method": self.method, "options": dict(self.options), "sites": list(self.sites)}


@dataclass(frozen=True)
class SharingPlan:
    """The banks of a network; a site in no bank stays an ordinary convolution.

    Raises PlanError if a site is in two banks.
    """

    banks: tuple[Bank, ...] = ()

    def __post_init__(self) -> None:
        banks = [b for b in self.banks if len(b.sites) > 1 or not METHODS[b.method].trivial_alone]
        seen: set[str] = set()
        for name in (name for bank in banks for name in bank.sites):
            if name in seen:
                rule = "a site can be in one bank only"
                raise PlanError(f"{rule}: {short(name)} is in two; remove one")
            seen.add(name)
        banks.sort(key=lambda bank: natural_order(bank.sites[0]))
        object.__setattr__(self, "banks", tuple(banks))

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the network this plan builds on its backbone."""
        text = json.dumps(self.documents(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all sites that are in a bank."""
        return tuple(name for bank in self.banks for name in bank.sites)

    def documents(self, order: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The banks as they stand in a plan file, in the order of ``order`` where it is given.

        order: the names of all sites of the backbone, in module order.
        """
        position = {name: place for place, name in enumerate(order)}
        documents = [bank.document for bank in self.banks]
        if position:
            for document in documents:
                document["sites"].sort(key=lambda name: position.get(name, len(position)))
            documents.sort(key=lambda doc: position.get(doc["sites"][0], len(position)))
        return documents

    @classmethod
    def from_documents(cls, documents: Iterable[Mapping[str, Any]]) -> SharingPlan:
        """The plan of the ``banks`` of a plan file. Raises PlanError."""
        banks = (Bank(doc["method"], doc["options"], tuple(doc["sites"])) for doc in documents)
        return cls(tuple(banks))

    @classmethod
    def load(cls, path: str | Path) -> SharingPlan:
        """Read the plan of a plan file; nothing in the file is executed. Raises PlanError."""
        return PlanFile.load(path).plan

    def save(self, path: str | Path) -> None:
        """Write a plan file that holds nothing but the banks."""
        PlanFile.of(self).save(path)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class BackboneReference(_Document):
    """Which backbone a plan is for: a name in BACKBONES or ``package.module:function``."""

    name: str = Field(min_length=1)
    arguments: dict[str, bool | int | float | str] = {}


class BankDocument(_Document):
    """A bank as written in a plan file."""

    method: str
    options: dict[str, Any]
    sites: list[str] = Field(min_length=1)


class ParameterCounts(_Document):
    """Unique trainable parameters of the backbone without and with the plan."""

    unshared: int = Field(ge=0)
    shared: int = Field(ge=0)


Split = Literal["validation", "test"]
"""The part of the data that something was measured on."""


class RecordedMeasurement(_Document):
    """One measured objective of the plan: one seed, one fidelity, one part of the data."""

    objective: str
    value: float
    split: Split
    fidelity: dict[str, bool | int | float | str]
    seed: int


class PlanFile(_Document):
    """An exported plan: all that is needed to apply it and to know where it comes from."""

    schema_: Literal["isoshare.plan/1"] = Field(alias="schema")
    backbone: BackboneReference | None = None
    banks: list[BankDocument]
    parameters: ParameterCounts | None = None
    measured: list[RecordedMeasurement] = []
    provenance: dict[str, Any] = {}

    @classmethod
    def of(cls, plan: SharingPlan, order: Sequence[str] = (), **rest: Any) -> PlanFile:
        """The file of a plan; ``order`` as in ``SharingPlan.documents``."""
        return cls.model_validate({"schema": SCHEMA, "banks": plan.documents(order), **rest})

    @property
    def plan(self) -> SharingPlan:
        """The plan in canonical form. Raises PlanError."""
        return SharingPlan.from_documents(bank.model_dump() for bank in self.banks)

    @classmethod
    def load(cls, path: str | Path) -> PlanFile:
        """Read and check a plan file. Raises PlanError with the file, the field and the rule."""
        try:
            return cls.parse(Path(path).read_bytes())
        except OSError as error:
            raise PlanError(f"cannot read the plan file {path}: {error.strerror}") from error
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str | bytes) -> PlanFile:
        """Check the text of a plan file. Raises PlanError."""
        try:
            document = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"a plan file must be JSON, but {error}") from error
        try:
            file = cls.model_validate(document)
        except ValidationError as error:
            raise PlanError(f"not a plan file: {first_problem(error)}") from error
        file.plan  # noqa: B018  refuse here what only the plan itself can see
        return file

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_write(path) as half:
            half.write_text(self.text)

    @property
    def text(self) -> str:
        """The JSON that ``save`` writes, with a final newline."""
        document = self.model_dump(by_alias=True, exclude_none=True)
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _complete(method: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        known = METHODS[method].options.model_validate(dict(options))
    except ValidationError as error:
        allowed = ", ".join(METHODS[method].options.model_fields) or "no options at all"
        raise PlanError(
            f"wrong options for method {method!r}: {first_problem(error)}; it takes {allowed}"
        ) from error
    return MappingProxyType(dict(sorted(known.model_dump(exclude_none=True).items())))


def _sorted_sites(sites: Iterable[str]) -> tuple[str, ...]:
    if isinstance(sites, str):
        raise PlanError(f"the sites of a bank are a tuple of names, got the text {short(sites)}")
    names = tuple(sites)
    if not names or not all(isinstance(name, str) for name in names):
        raise PlanError(f"a bank needs at least one site, each a module path, got {short(names)}")
    ordered = tuple(sorted(names, key=natural_order))
    for name, following in pairwise(ordered):
        if name == following:
            raise PlanError(f"a site can be in a bank once: {short(name)} is there twice")
    return ordered


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
