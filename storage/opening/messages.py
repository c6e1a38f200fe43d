"""What is said about a database that cannot be used: one sentence each, passwords not shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError


def vanished(url: URL) -> str:
    """The sentence for a database that was there and is not any more."""
    return (
        f"the database {url!r} was there and is gone: put its file back; what is launched now "
        "begins a new one"
    )


def no_database(url: URL) -> str:
    """The sentence for a reader whose database is not there."""
    return f"no studies in {url!r}: launch a search first, or name another database with --storage"


def cut_off(url: URL) -> str:
    """The sentence for a SQLite file that is shorter than it says."""
    return (
        f"the database {url!r} is not whole: it is still being copied to its place, or was cut off "
        "then: wait until it is there, or copy it again"
    )


def cannot_open(url: URL, error: DBAPIError) -> str:
    """The sentence for a database that answers with an error; a password is not shown."""
    return (
        f"cannot use the database {url!r}: {_reason(error)}; check --storage (or ISOSHARE_STORAGE)"
    )


def cannot_write(url: URL, error: DBAPIError, whole: bool | None) -> str:
    """The sentence for a database that was there and takes nothing any more.

    whole: what a check of the file has found; None if it could not be checked.
    """
    found = {
        True: "; what it holds is whole",
        False: "; it is damaged: restore a copy of the file, or an archive of the study",
        None: "",
    }
    return f"the database {url!r} failed: {_reason(error)}{found[whole]}"


def file_changed(url: URL, saved: Path | None) -> str:
    """The sentence for a SQLite file that was deleted or replaced while it was being written.

    saved: a copy of all that had been written, if one could be made.
    """
    kept = (
        f"what was finished is in {saved}: put it in its place"
        if saved
        else "what was finished could not be saved from it: put the file back"
    )
    return f"the database {url!r} was deleted or replaced by another file; {kept}"


def taken(name: str) -> str:
    """The sentence for a name that another study has."""
    return (
        f"study {name!r} exists already: resume it with 'isoshare resume {name}', "
        "or choose another --study"
    )


def unknown_study(name: str, known: Sequence[str]) -> str:
    """The sentence for a name that no study has."""
    shown = ", ".join(known[-6:]) if known else "none yet; 'isoshare launch' makes one"
    return f"unknown study {name!r}: the database has {shown}"


def _reason(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__
