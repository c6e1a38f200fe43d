"""What a study has recorded about its request and its space, as frozen values with types.

In the database and in archives they are JSON; what an earlier version has not recorded has the
value that it stood for then, and what a later one has recorded besides is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Self

from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.sites import Site

LISTS = ("methods", "objectives", "rungs")


@dataclass(frozen=True)
class StudyConfig:
    """The options of a search that readers of its study need; what each means stands in
    search/options.

    options: all of them, as JSON values, to go on with the search or to start it again.
    """

    backbone: str = ""
    backbone_arg: Mapping[str, Any] = field(default_factory=dict)
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    dataset: str = ""
    validation: float = 0.2
    methods: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    sampler: str = ""
    evaluator: str = "train"
    trials: int = 0
    epochs: int = 0
    replicates: int = 1
    batch_size: int = 0
    optimizer: str = "sgd"
    learning_rate: float = 0.0
    augment: str = "none"
    precision: str = "float32"
    repeats: float = 0.0
    stop_at: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From JSON."""
        names = {one.name for one in fields(cls)} - {"options"}
        known = {name: value for name, value in document.items() if name in names}
        known |= {name: tuple(known[name]) for name in LISTS if name in known}
        return cls(**known, options=dict(document))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(self.options)


@dataclass(frozen=True)
class BackboneRecord:
    """How the backbone is built: its name and the arguments of its function."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ObjectiveRecord:
    """What one objective is: its direction, the reference of the hypervolume, and its unit.

    reference: None of an objective of the user's own, until a first value has told.
    """

    direction: Literal["maximize", "minimize"]
    reference: float | None
    unit: str = ""


@dataclass(frozen=True)
class DatasetRecord:
    """Which images were used. image: (channels, height, width), if that was recorded."""

    name: str = ""
    fingerprint: str = ""
    image: tuple[int, ...] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        shape = {} if self.image is None else {"image": list(self.image)}
        return {"name": self.name, "fingerprint": self.fingerprint, **shape}


@dataclass(frozen=True)
class NetworkRecord:
    """An unshared network: the backbone, or a variant of it where a search varies its arguments.

    variant: those arguments. The rest as in ``StudyContext``.
    """

    variant: Variant
    sites: tuple[Site, ...]
    unshared: int
    costs: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """From JSON."""
        variant = tuple(row["arguments"].items())
        return cls(variant, _sites(row["sites"]), row["unshared"], row.get("costs"))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        costs = {} if self.costs is None else {"costs": dict(self.costs)}
        sites = [_site_document(site) for site in self.sites]
        arguments = dict(self.variant)
        return {"arguments": arguments, "sites": sites, "unshared": self.unshared, **costs}


@dataclass(frozen=True)
class StudyContext:
    """What readers of a study need without building its backbone.

    sites: in module order. unshared: parameters of the unshared network. plans: how many the space
    has. costs: what one image costs the unshared network, if that was asked for. variants: where
    the search varies the backbone's arguments, its variants; the others are of the one that sizes
    are compared with. scores: what sharing is expected to cost the trained network, where that was
    measured before the search. more: what a later version has recorded besides.
    """

    backbone: BackboneRecord
    sites: tuple[Site, ...]
    unshared: int
    plans: int
    objectives: Mapping[str, ObjectiveRecord]
    dataset: DatasetRecord
    versions: Mapping[str, str]
    costs: Mapping[str, Any] | None = None
    variants: tuple[NetworkRecord, ...] = ()
    scores: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def of(self, plan: SharingPlan) -> NetworkRecord:
        """The unshared network that a plan is for."""
        return self.network(plan.variant)

    def backbone_of(self, plan: SharingPlan) -> BackboneRecord:
        """The backbone with the arguments of the variant that a plan is for."""
        arguments = {**self.backbone.arguments, **dict(plan.variant)}
        return replace(self.backbone, arguments=arguments)

    def network(self, variant: Variant = ()) -> NetworkRecord:
        """The unshared network of a variant. Raises KeyError for one the study does not have."""
        if not variant:
            return NetworkRecord((), self.sites, self.unshared, self.costs)
        return self._by_variant[variant]

    @cached_property
    def _by_variant(self) -> dict[Variant, NetworkRecord]:
        return {one.variant: one for one in self.variants}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From JSON. Raises TypeError for a site of a later version, with more to it."""
        rest = dict(document)
        data = rest.pop("dataset")
        return cls(
            backbone=BackboneRecord(**rest.pop("backbone")),
            sites=_sites(rest.pop("sites")),
            unshared=rest.pop("unshared"),
            plans=int(rest.pop("plans")),
            objectives={
                name: ObjectiveRecord(**row) for name, row in rest.pop("objectives").items()
            },
            dataset=DatasetRecord(
                data.get("name", ""), data.get("fingerprint", ""), _shape(data.get("image"))
            ),
            versions=rest.pop("versions"),
            costs=rest.pop("costs", None),
            variants=tuple(map(NetworkRecord.read, rest.pop("variants", ()))),
            scores=rest.pop("scores", None),
            more=rest,
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "backbone": asdict(self.backbone),
            "sites": [_site_document(site) for site in self.sites],
            "unshared": self.unshared,
            "plans": str(self.plans),  # may be beyond what JSON readers hold in a number
            "objectives": {name: asdict(row) for name, row in self.objectives.items()},
            "dataset": self.dataset.document(),
            "versions": dict(self.versions),
            **({} if self.costs is None else {"costs": dict(self.costs)}),
            **({"variants": [one.document() for one in self.variants]} if self.variants else {}),
            **({} if self.scores is None else {"scores": dict(self.scores)}),
            **self.more,
        }


def _sites(rows: Iterable[Mapping[str, Any]]) -> tuple[Site, ...]:
    return tuple(Site(**{**row, "kernel_size": tuple(row["kernel_size"])}) for row in rows)


def _site_document(site: Site) -> dict[str, Any]:
    return {**asdict(site), "kernel_size": list(site.kernel_size)}


def _shape(image: list[int] | None) -> tuple[int, ...] | None:
    return None if image is None else tuple(image)
