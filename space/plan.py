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
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isoshare.space.backbones import Argument
from isoshare.space.bank import Bank, checked_banks
from isoshare.space.errors import PlanError, first_problem, short
from isoshare.space.files import atomic_write, check_path, check_writable
from isoshare.space.methods import METHODS
from isoshare.space.natural_order import natural_order
from isoshare.space.strict_json import read_json

__all__ = [
    "SCHEMA",
    "BackboneReference",
    "Bank",
    "BankDocument",
    "ParameterCounts",
    "PlanFile",
    "RecordedMeasurement",
    "SharingPlan",
    "Split",
    "Variant",
]

SCHEMA = "isoshare.plan/1"

Variant = tuple[tuple[str, Argument], ...]
"""A choice of arguments of the function that makes the backbone, sorted by their names."""


@dataclass(frozen=True, repr=False)
class SharingPlan:
    """The banks of a network; a site in no bank stays an ordinary convolution.

    variant: the arguments of the backbone that the plan is for, where a search varies them. counts:
    what its file says that it counts there, which is no part of the plan.
    Raises PlanError if a site is in two banks.
    """

    banks: tuple[Bank, ...] = ()
    variant: Variant = ()
    counts: ParameterCounts | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        known = checked_banks(self.banks)
        banks = [b for b in known if len(b.sites) > 1 or not METHODS[b.method].trivial_alone]
        seen: set[str] = set()
        for name in (name for bank in banks for name in bank.sites):
            if name in seen:
                rule = "a site can be in one bank only"
                raise PlanError(f"{rule}: {short(name)} is in two; remove one")
            seen.add(name)
        banks.sort(key=lambda bank: natural_order(bank.sites[0]))
        object.__setattr__(self, "banks", tuple(banks))
        object.__setattr__(self, "variant", tuple(sorted(dict(self.variant).items())))

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        """Python that makes it, to be pasted."""
        variant = f", {self.variant!r}" if self.variant else ""
        return f"SharingPlan({self.banks!r}{variant})"

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the network this plan builds on its backbone."""
        text = json.dumps(self.stored, sort_keys=True, separators=(",", ":"))
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

    @property
    def stored(self) -> list[dict[str, Any]] | dict[str, Any]:
        """The plan as a database holds it: its banks alone, unless it names a variant."""
        banks = self.documents()
        return {"arguments": dict(self.variant), "banks": banks} if self.variant else banks

    @classmethod
    def restored(cls, stored: list[dict[str, Any]] | dict[str, Any]) -> SharingPlan:
        """The inverse of ``stored``. Raises PlanError."""
        if isinstance(stored, list):
            return cls.from_documents(stored)
        variant = tuple(stored["arguments"].items())
        return cls.from_documents(stored["banks"]).of_variant(variant)

    def of_variant(self, variant: Variant) -> Self:
        """The same banks on another variant of the backbone; () names none."""
        return replace(self, variant=variant, counts=None)

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
    arguments: dict[str, Argument] = {}


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
        """The plan in canonical form, with the variant that it is for. Raises PlanError."""
        plan = SharingPlan.from_documents(bank.model_dump() for bank in self.banks)
        return replace(plan, variant=self._variant, counts=self.parameters)

    @property
    def _variant(self) -> Variant:
        """The arguments of its backbone that its search has varied."""
        config = self.provenance.get("config")
        varied = config.get("vary") if isinstance(config, dict) else None
        known = self.backbone.arguments if self.backbone and isinstance(varied, dict) else {}
        return tuple((name, value) for name, value in known.items() if name in (varied or ()))

    @classmethod
    def load(cls, path: str | Path) -> PlanFile:
        """Read and check a plan file. Raises PlanError with the file, the field and the rule."""
        check_path(path)
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
            document = read_json(text)
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
        check_writable(path)
        with atomic_write(path) as half:
            half.write_text(self.text)

    @property
    def text(self) -> str:
        """The JSON that ``save`` writes, with a final newline."""
        document = self.model_dump(by_alias=True, exclude_none=True)
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
