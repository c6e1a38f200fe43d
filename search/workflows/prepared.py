"""A search that has been checked, and the study that stands for it in the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from isoshare.evaluators.evaluator import Evaluator
from isoshare.evaluators.objectives import objective_name, objective_row
from isoshare.evaluators.training.trainer import Report
from isoshare.search.config import SearchConfig
from isoshare.search.drivers.versions import versions
from isoshare.search.study_names import check_name, free_name
from isoshare.space.search_space import SearchSpace
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store


@dataclass(frozen=True)
class Prepared:
    """A checked search: nothing has been stored or started yet.

    is_new: its study is to be made. prepare: what the evaluator needs once, before it is sent to
    workers. warnings: sentences for the user about the data.
    """

    is_new: bool
    config: SearchConfig
    study: StudyRecord
    space: SearchSpace
    measure: Evaluator
    prepare: Callable[[Report], None] | None
    conditions: dict[str, Any]
    warnings: tuple[str, ...] = ()


def check_study(config: SearchConfig, store: Store) -> None:
    """Raise IsoshareError if the name that a new study shall have is wrong or taken."""
    if config.study is not None:
        store.check_free(check_name(config.study))


def new_study(config: SearchConfig, store: Store, context: dict[str, Any]) -> StudyRecord:
    """A study that is not stored yet. Raises IsoshareError if its name is wrong or taken."""
    check_study(config, store)
    name = config.study or free_name({known.name for known in store.studies()}, config)
    return StudyRecord(name, datetime.now(UTC), config.document(), context)


def study_context(
    config: SearchConfig, space: SearchSpace, dataset: dict[str, Any]
) -> dict[str, Any]:
    """What readers of the study need without torch and without the backbone."""
    return {
        "backbone": {"name": config.backbone, "arguments": config.backbone_arg},
        "sites": [{**asdict(site), "kernel_size": list(site.kernel_size)} for site in space.sites],
        "unshared": space.unshared,
        "plans": str(space.count()),  # may be beyond what JSON readers hold in a number
        "objectives": {
            objective_name(asked): {
                "direction": row.direction,
                "reference": row.worst(space),
                "unit": row.unit,
            }
            for asked, row in ((asked, objective_row(asked)) for asked in config.objectives)
        },
        **({"costs": space.costs.document()} if space.has_costs else {}),
        "dataset": dataset,
        "versions": versions(),
    }
