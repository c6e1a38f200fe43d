"""Fixtures that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.config import make_config
from search.engine import Engine
from storage.store import Store
from tests.fakes import MakeEngine, create_study, space_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'test.db'}")
    yield store
    store.close()


@pytest.fixture
def make_engine(store: Store) -> MakeEngine:
    """An engine on the study "study" of the store: created on the first call, resumed later."""

    def make(sites: int = 5, **options: Any) -> Engine:
        space = space_of(sites)
        config = make_config({"trials": 12, "replicates": 2, "workers": 1, **options})
        known = [summary.name for summary in store.studies()]
        study = store.study("study") if known else create_study(store, space, config)
        return Engine(store, study, config, space)

    return make
