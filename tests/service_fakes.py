"""A service on a real database, with a study that a fake evaluator has measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.service.app import make_app
from isoshare.search.service.settings import Settings
from isoshare.storage.change_feed import WatchedStore
from tests.fakes import FakeEvaluator, create_named_study, engine_for, space_of

TOKENS = ("a-token-that-reads-only", "a-token-that-launches")


def settings_of(folder: Path, **options: Any) -> Settings:
    """A service in ``folder`` that reads the database anew for every request."""
    known = {"storage": f"sqlite:///{folder / 'test.db'}", "folder": folder, "max_age": 0.0}
    return Settings(**{**known, "rate": 10_000.0, **options})


def two_studies(folder: Path, **options: Any) -> Settings:
    """A service whose database has a finished study, "study", and one that was cut off, "half"."""
    settings = settings_of(folder, **options)
    searched(settings)
    half_searched(settings)
    return settings


def without_time(plan: dict[str, dict[str, object]]) -> dict[str, object]:
    """A plan file that can be compared with one of another moment."""
    assert plan["provenance"].pop("created")
    return dict(plan)


def client_of(settings: Settings, **options: Any) -> TestClient:
    """A client that asks a loopback address, as a browser on this machine does."""
    return TestClient(make_app(settings), base_url="http://127.0.0.1:8000", **options)


def engine_of(store: WatchedStore, name: str, **options: Any) -> Engine:
    """A search of five sites by kernel sharing, not started."""
    config = make_config(
        {"trials": 12, "replicates": 2, "workers": 1, "sampler": "random", **options}
    )
    space = space_of(5)
    return engine_for(store, create_named_study(store, name, space, config), config, space)


def searched(settings: Settings, name: str = "study", **options: Any) -> None:
    """Put a finished study into the database of a service."""
    store = WatchedStore(settings.storage)
    run_inline(engine_of(store, name, **options), FakeEvaluator())
    store.close()


def half_searched(settings: Settings, name: str = "half") -> None:
    """A study in which one trial finished, one failed, one was stopped and one still runs."""
    store = WatchedStore(settings.storage)
    engine, measure = engine_of(store, name), FakeEvaluator()
    jobs = [job for job in (engine.ask() for _ in range(4)) if job is not None]
    for measured in measure(jobs[0].plan, jobs[0].seeds, jobs[0].split):
        engine.tell(jobs[0].number, measured)
    engine.fail(jobs[1].number, "the loss became nan in epoch 1")
    for measured in measure(jobs[2].plan, jobs[2].seeds[:1], jobs[2].split):
        engine.tell(jobs[2].number, measured)
    store.stop_trial(name, jobs[2].number)
    store.close()
