"""Prepare a search that a ShareBench table answers: no network, no data, no training."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.tabular import TabularEvaluator
from isoshare.search.config import SearchConfig
from isoshare.search.workflows.preparation.prepared import Prepared, new_study
from isoshare.search.workflows.preparation.recorded_space import recorded_space
from isoshare.space.errors import IsoshareError
from isoshare.space.sampled_space import SampledSpace
from isoshare.space.search_space import SearchSpace
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import StudyContext


def prepare_tabular(config: SearchConfig, store: Store) -> Prepared:
    """A new search. Raises IsoshareError."""
    table = Table.load(config.table or "")
    space = table_space(table)
    data = StudyContext.read(table.conditions["context"]).dataset
    study = new_study(config, store, space, data)
    return _prepared(True, config, study, space, table)


def prepare_tabular_resume(config: SearchConfig, study: StudyRecord) -> Prepared:
    """A search that continues. Raises IsoshareError."""
    table = Table.load(config.table or "")
    space = table_space(table)
    known = {variant: one.sites for variant, one in space.members.items()}
    if known != {variant: study.context.network(variant).sites for variant in known}:
        raise IsoshareError(
            f"table {config.table!r} is not what study {study.name!r} was started with: launch a "
            "new study for it"
        )
    return _prepared(False, config, study, space, table)


def table_space(table: Table) -> Space:
    """The space of all plans of a table, which may be some of a larger one."""
    made = table.conditions
    whole = recorded_space(
        StudyRecord.read("table", datetime.now(UTC), made["config"], made["context"])
    )
    if "sampled" not in made:
        return whole
    assert isinstance(whole, SearchSpace), "sampled tables vary no arguments"
    return SampledSpace(whole, table.plans)


def _prepared(
    is_new: bool, config: SearchConfig, study: StudyRecord, space: Space, table: Table
) -> Prepared:
    conditions: dict[str, Any] = {"table": config.table, **table.conditions["context"]["versions"]}
    return Prepared(is_new, config, study, space, TabularEvaluator(table, config.seed), conditions)
