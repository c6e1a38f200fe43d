"""Databases of earlier versions are upgraded whole; those of other versions are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from isoshare.storage import schema
from isoshare.storage.opening.database import StoreError, make_engine, parse_url, writing
from isoshare.storage.opening.sqlite_files import sqlite_file
from isoshare.storage.store import Store
from isoshare.storage.tables import Base
from tests.test_store import CONFIG, CONTEXT, PLAN, STUDY, TRIAL, measurement

pytestmark = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
PROGRAM = Path(__file__).parent.parent / "run_search.py"
OLD = [f"{number:04}" for number in range(1, int(schema.NEWEST))]


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    if file := sqlite_file(parse_url(url)):
        file.touch()
    engine = make_engine(parse_url(url))
    yield engine
    engine.dispose()


def migrate_to(engine: Engine, revision: str) -> None:
    """Lead an empty database from no revision to this one, as that version would have."""
    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with writing(engine).begin() as connection:
        config.attributes.update(connection=connection, on_version_apply=lambda **_: None)
        command.upgrade(config, revision)


def fill(connection: Connection) -> None:
    """A study as the first version wrote it."""
    rows: dict[str, dict[str, Any]] = {
        "study": {
            "name": "s",
            "created": "2030-01-02 00:00:00.000000",
            "config": json.dumps(CONFIG),
            "context": json.dumps(CONTEXT),
        },
        "trial": {
            "study_id": 1,
            "number": 0,
            "fingerprint": PLAN.fingerprint,
            "banks": json.dumps(PLAN.documents()),
            "origin": "sampler",
            "state": "running",
            "exact": '{"parameters": 5}',
            "proposal": '{"params": {}}',
            "attempts": 0,
            "error": "",
        },
        "measurement": {
            "trial_id": 1,
            "split": "validation",
            "seed": 1,
            "fidelity_key": '{"epochs": 2}',
            "fidelity": '{"epochs": 2}',
            "values": '{"accuracy": 0.5}',
            "seconds": 1.5,
            "conditions": '{"device": "cpu"}',
            "stored": "2030-01-02 00:00:00.000000",
        },
    }
    for table, row in rows.items():
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


@pytest.mark.parametrize(
    ("revision", "stamped"),
    [*((revision, True) for revision in OLD), pytest.param(schema.FIRST, False, id="unstamped")],
)
def test_an_old_database_is_upgraded_and_keeps_its_data(
    store: Store, engine: Engine, revision: str, stamped: bool
) -> None:
    """All of them have a revision, but for the first ones, from before migrations."""
    migrate_to(engine, revision)
    with writing(engine).begin() as connection:
        fill(connection)
        if not stamped:
            connection.execute(text(f"DROP TABLE {schema.VERSION_TABLE}"))
    for use in (store.studies, lambda: store.study("s"), lambda: store.create_study(STUDY)):
        with pytest.raises(StoreError, match=r"upgrade it with 'isoshare upgrade --storage"):
            use()
    steps: list[str] = []
    assert store.upgrade(lambda revision, what: steps.append(revision)) == revision
    assert steps == [one for one in [*OLD, schema.NEWEST] if one > revision]
    assert store.upgrade() == schema.NEWEST  # again: nothing to do
    assert store.study("s") == STUDY
    (trial,) = store.trials("s")
    assert (trial.plan, trial.exact, trial.measurements) == (PLAN, TRIAL.exact, (measurement(1),))
    store.add_measurements("s", 0, [measurement(2)], finished=True)
    assert store.trials("s")[0].samples("accuracy") == [0.5, 0.5]


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, Base.metadata))


def test_migrated_and_new_databases_are_what_the_models_say(store: Store, engine: Engine) -> None:
    migrate_to(engine, "head")
    assert differences(engine) == []
    with writing(engine).begin() as connection:
        for table in ("note", "lease", "measurement", "trial", "study", schema.VERSION_TABLE):
            connection.execute(text(f"DROP TABLE {table}"))
    assert differences(engine) != []  # the comparison can fail
    store.create_study(STUDY)
    assert differences(engine) == []


def test_the_newest_revision_is_that_of_the_last_migration(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == schema.NEWEST
    assert [one.revision for one in script.walk_revisions()] == [schema.NEWEST, *OLD[::-1]]


def test_a_newer_database_is_refused_and_stays_as_it_is(
    url: str, store: Store, engine: Engine
) -> None:
    store.create_study(STUDY)
    with writing(engine).begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    store = Store(url)
    for use in (store.studies, store.upgrade, lambda: store.create_study(STUDY)):
        with pytest.raises(StoreError, match=r"newer version of Isoshare \(schema 9999, this"):
            use()
    store.close()


def test_a_migration_that_fails_changes_nothing(store: Store, engine: Engine) -> None:
    migrate_to(engine, schema.FIRST)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.upgrade(fail)
    with engine.connect() as connection:
        assert schema.revision_of(connection) == schema.FIRST
        assert not inspect(connection).has_table("lease")


def test_the_command_says_what_it_has_done(url: str, engine: Engine) -> None:
    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), name, "--storage", url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    nothing = run("upgrade")
    assert (nothing.returncode, "no studies in" in nothing.stderr) == (2, True)
    migrate_to(engine, schema.FIRST)
    refused = run("studies")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    done = run("upgrade")
    assert done.stdout.splitlines()[-1] == "upgraded from schema 0001"
    assert run("upgrade").stdout == f"nothing to do: it has schema {schema.NEWEST}\n"
