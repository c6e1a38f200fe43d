"""Manage whole studies and databases: delete, archive, restore, upgrade."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.search.results.describe import counted
from isoshare.search.workflows.administration.archive import restore_archive, write_archive
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store


@dataclass(frozen=True)
class Request:
    """What is asked for: one of delete, archive (with output) and restore (as), or nothing.

    Raises IsoshareError for several, or half of one.
    """

    delete: str | None = None
    archive: str | None = None
    output: Path | None = None
    restore: Path | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.delete, self.archive, self.restore)) > 1:
            raise IsoshareError("studies takes one of --delete, --archive and --restore at a time")
        if (self.archive is None) != (self.output is None):
            raise IsoshareError("--archive NAME and -o FILE belong together: give both")
        if self.name is not None and self.restore is None:
            raise IsoshareError("--as NAME is for a study that is restored: add --restore FILE")


def in_short(store: Store, name: str) -> str:
    """A study that may be deleted, with what would be lost. Raises StoreError."""
    store.check_idle(name)
    (study,) = [one for one in store.studies() if one.name == name]
    return f"study {name!r} with {counted(study.finished, 'finished trial')}"


def carry_out(asked: Request, store: Store, output: Path) -> str:
    """Carry out a request; returns a sentence about it. Raises IsoshareError, OSError."""
    if asked.delete is not None:
        said = in_short(store, asked.delete)
        store.delete_study(asked.delete)
        _remove_checkpoints(asked.delete)
        return f"deleted {said}"
    if asked.archive is not None:
        written = counted(write_archive(store, asked.archive, output), "trial")
        return f"wrote {written} of study {asked.archive!r} to {output}"
    assert asked.restore is not None, "it is not called for a list of studies"
    name = restore_archive(store, asked.restore, asked.name).name
    return f"restored study {name!r}: look at it with 'isoshare pareto {name}'"


def upgrade_database(store: Store) -> str:
    """Upgrade the database schema; returns one line per step. Raises StoreError."""
    steps: list[str] = []
    found = store.upgrade(lambda revision, what: steps.append(f"{revision}: {what}"))
    said = f"upgraded from schema {found}" if steps else f"nothing to do: it has schema {found}"
    return "\n".join([*steps, said])


def _remove_checkpoints(study: str) -> None:
    """Those of abandoned trials lie there still."""
    folder = checkpoint_folder(study)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
