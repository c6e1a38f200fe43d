"""A search that has been checked, and the study that stands for it in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from isoshare.evaluators.evaluator import Evaluator
from isoshare.evaluators.objectives import Objective, objectives_named
from isoshare.search.config import SearchConfig
from isoshare.search.drivers.versions import versions
from isoshare.search.options.space import SpaceConfig
from isoshare.search.study_names import check_name, free_name
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import (
    BackboneRecord,
    DatasetRecord,
    NetworkRecord,
    ObjectiveRecord,
    StudyConfig,
    StudyContext,
)


@dataclass(frozen=True)
class Prepared:
    """A checked search: nothing has been stored or started yet.

    is_new: its study is to be made. evaluator: still to be prepared, before it is sent to workers.
    conditions: what is recorded with each measurement. warnings: sentences about what may be wrong;
        notes: about the data as they are.
    """

    is_new: bool
    config: SearchConfig
    study: StudyRecord
    space: Space
    evaluator: Evaluator
    conditions: dict[str, Any]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_study(name: str | None, store: Store) -> None:
    """Raise IsoshareError if the name of a new study is invalid or taken."""
    if name is not None:
        store.check_free(check_name(name))


def new_study(config: SearchConfig, store: Store, space: Space, data: DatasetRecord) -> StudyRecord:
    """A study that is not stored yet. Raises IsoshareError if its name is invalid or taken."""
    check_study(config.study, store)
    taken = {known.name for known in store.studies()}
    name = config.study or free_name(taken, config.dataset, config.backbone)
    return study_record(name, config, space, data)


def study_record(name: str, config: SearchConfig, space: Space, data: DatasetRecord) -> StudyRecord:
    """The record of a study of this name.

    data: what is recorded about the data set.
    """
    context = _context(config.space, objectives_named(config.objectives), space, data)
    return StudyRecord(name, datetime.now(UTC), StudyConfig.read(config.document()), context)


def _context(
    options: SpaceConfig,
    objectives: Mapping[str, Objective],
    space: Space,
    data: DatasetRecord,
) -> StudyContext:
    """What readers of the study need without torch and without the backbone."""
    return StudyContext(
        backbone=BackboneRecord(options.backbone, options.backbone_arg),
        sites=space.sites,
        unshared=space.unshared,
        plans=space.count(),
        objectives={
            name: ObjectiveRecord(one.direction, one.worst(space), one.unit)
            for name, one in objectives.items()
        },
        dataset=data,
        versions=versions(),
        costs=_costs(space),
        variants=tuple(
            NetworkRecord(variant, one.sites, one.unshared, _costs(one))
            for variant, one in space.members.items()
            if variant
        ),
    )


def _costs(space: Space) -> dict[str, Any] | None:
    return space.costs.document() if space.has_costs else None
