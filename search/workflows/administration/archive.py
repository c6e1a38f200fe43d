"""One study in one portable file: written from one database, read into another.

The file is gzipped text, one JSON document a line: first the study, then its trials by number. What
comes back is checked line by line; nothing in it is executed or imported, and a file that breaks a
rule leaves the database as it was.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from isoshare.search.config import make_config
from isoshare.search.study_names import check_name
from isoshare.space.errors import IsoshareError, first_problem
from isoshare.space.files import atomic_write
from isoshare.space.plan import BankDocument, SharingPlan, Split
from isoshare.space.sites import Site
from isoshare.storage.records import (
    MeasurementRecord,
    NoteRecord,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from isoshare.storage.store import Store

SCHEMA = "isoshare.archive/1"
LONGEST_LINE = 64 * 2**20
"""Bytes; a trial of a network with a thousand sites has some hundred thousand."""


class ArchiveError(IsoshareError):
    """A file that is not an archive of a study, or is damaged."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Open(BaseModel):
    """Later versions may note more about a study than this one knows."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Axis(_Document):
    direction: Literal["maximize", "minimize"]
    reference: float
    unit: str = ""


class _Context(_Open):
    """What readers of a study rely on."""

    backbone: dict[str, Any]
    sites: list[Site]
    unshared: int = Field(ge=1)
    plans: str = Field(pattern=r"^[0-9]{1,4000}$")
    objectives: dict[str, _Axis] = Field(min_length=2)
    dataset: dict[str, Any]
    versions: dict[str, str]


class _Study(_Document):
    name: str = Field(min_length=1, max_length=100)
    created: AwareDatetime
    config: dict[str, Any]
    context: dict[str, Any]


class _Note(_Document):
    trial: int | None
    text: str
    tags: list[str]
    author: str
    written: AwareDatetime


class _Header(_Document):
    schema_: Literal["isoshare.archive/1"] = Field(alias="schema")
    study: _Study
    trials: int = Field(ge=0)
    notes: list[_Note] = []


class _Measurement(_Document):
    seed: int = Field(ge=0, lt=2**63)
    split: Split
    fidelity: dict[str, bool | int | float | str]
    values: dict[str, float]
    seconds: float = Field(ge=0)
    conditions: dict[str, Any]
    stored: AwareDatetime | None = None


class _Proposal(_Open):
    params: dict[str, Any]
    system_attrs: dict[str, Any]


class _Trial(_Document):
    number: int
    banks: list[BankDocument]
    arguments: dict[str, bool | int | float | str] = {}
    origin: str
    state: TrialState
    exact: dict[str, float]
    proposal: _Proposal
    attempts: int = Field(ge=0, lt=2**31)
    error: str
    measurements: list[_Measurement]


M = TypeVar("M", bound=BaseModel)


def write_archive(store: Store, name: str, path: Path) -> int:
    """Write a study, atomically; returns its number of trials. Raises StoreError."""
    study, trials = store.study(name), store.trials(name)
    header = {"schema": SCHEMA, "study": _study_document(study), "trials": len(trials)}
    if notes := store.notes(name):  # earlier versions read archives without any
        header["notes"] = [_note_document(note) for note in notes]
    with atomic_write(path) as half, gzip.open(half, "wt", 6, "utf-8") as file:
        for document in (header, *map(_trial_document, trials)):
            file.write(json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")
    return len(trials)


def restore_archive(store: Store, path: Path, name: str | None = None) -> StudyRecord:
    """Add the study of a file to a database, all of it or nothing.

    name: of the study from now on. Raises ArchiveError for a file that breaks a rule, IsoshareError
    if the name is taken or none for a new study.
    """
    with _lines(path) as lines:
        study, header = _header(next(lines, b""))
    try:
        study = replace(study, name=check_name(study.name if name is None else name))
        store.check_free(study.name)
    except IsoshareError as error:
        raise type(error)(f"{error}; --as NAME restores it under another name") from error
    store.restore_study(study, lambda: _trials(path))
    for note in header.notes:
        store.write_note(study.name, NoteRecord(**{**vars(note), "tags": tuple(note.tags)}))
    return study


def _trials(path: Path) -> Iterator[TrialRecord]:
    with _lines(path) as lines:
        expected = _header(next(lines, b""))[1].trials
        known: set[str] = set()
        for number, line in enumerate(lines):
            trial = _trial(_parsed(_Trial, line, f"line {number + 2}"))
            if trial.number != number or trial.plan.fingerprint in known:
                raise ArchiveError(f"trial {trial.number} or its plan is out of order or repeated")
            known.add(trial.plan.fingerprint)
            yield trial
        if len(known) != expected:
            raise ArchiveError(f"it ends after {len(known)} of {expected} trials")


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a file. Raises ArchiveError, naming the file, for whatever is wrong with it."""
    try:
        with gzip.open(path, "rb") as file:
            yield iter(lambda: file.readline(LONGEST_LINE), b"")
    except FileNotFoundError as error:
        raise ArchiveError(f"cannot read {path}: {error.strerror}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{path} is not an archive of a study, or damaged: {error}") from error
    except IsoshareError as error:
        raise ArchiveError(f"{path} is not an archive of a study: {error}") from error


def _header(line: bytes) -> tuple[StudyRecord, _Header]:
    header = _parsed(_Header, line, "line 1")
    study = header.study
    _parsed(_Context, json.dumps(study.context).encode(), "line 1, context")
    make_config({**study.config, "study": study.name})
    try:
        record = StudyRecord.read(study.name, study.created, study.config, study.context)
    except TypeError as error:  # a site of a later version, with more to it
        raise ArchiveError(f"line 1, sites: {error}") from error
    return record, header


def _trial(document: _Trial) -> TrialRecord:
    banks = (bank.model_dump() for bank in document.banks)
    plan = SharingPlan.from_documents(banks).of_variant(tuple(document.arguments.items()))
    measurements = tuple(MeasurementRecord(**vars(one)) for one in document.measurements)
    keys = {(m.split, m.seed, json.dumps(m.fidelity, sort_keys=True)) for m in measurements}
    if len(keys) < len(measurements):
        raise ArchiveError(f"trial {document.number} has a measurement twice")
    rest = {
        key: value for key, value in vars(document).items() if key not in ("banks", "arguments")
    }
    return TrialRecord(
        **{
            **rest,
            "plan": plan,
            "proposal": document.proposal.model_dump(),
            "measurements": measurements,
        }
    )


def _parsed(model: type[M], line: bytes, where: str) -> M:
    try:
        return model.model_validate(json.loads(line))
    except ValidationError as error:
        raise ArchiveError(f"{where}: {first_problem(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{where} must be JSON, but {error}") from error


def _study_document(study: StudyRecord) -> dict[str, Any]:
    return {
        "name": study.name,
        "created": study.created.astimezone(UTC).isoformat(),
        "config": study.config.document(),
        "context": study.context.document(),
    }


def _note_document(note: NoteRecord) -> dict[str, Any]:
    assert note.written is not None, "the store says when a note was written"
    return {**vars(note), "written": note.written.astimezone(UTC).isoformat()}


def _trial_document(trial: TrialRecord) -> dict[str, Any]:
    stored = trial.plan.stored
    document = {**vars(trial), **(stored if isinstance(stored, dict) else {"banks": stored})}
    del document["plan"]
    measurements = [
        {**vars(one), "stored": one.stored and one.stored.astimezone(UTC).isoformat()}
        for one in trial.measurements
    ]
    return {**document, "measurements": measurements}
