"""Notes and tags of people on studies and trials, as rows: one for each study and trial."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from isoshare.storage.records import NoteRecord
from isoshare.storage.tables import NoteRow

THE_STUDY = -1
"""In the place of the number of a trial."""


def notes_of(session: Session, study_id: int) -> list[NoteRecord]:
    """All notes on a study, that on the study itself first."""
    rows = session.scalars(
        select(NoteRow).where(NoteRow.study_id == study_id).order_by(NoteRow.trial)
    )
    return [
        NoteRecord(
            None if row.trial == THE_STUDY else row.trial,
            row.text,
            tuple(row.tags),
            row.author,
            row.written.replace(tzinfo=UTC),
        )
        for row in rows
    ]


def put_note(session: Session, study_id: int, note: NoteRecord) -> None:
    """Write a note in the place of the one that is there."""
    trial = THE_STUDY if note.trial is None else note.trial
    row = session.get(NoteRow, (study_id, trial))
    if row is None:
        row = NoteRow(study_id=study_id, trial=trial)
        session.add(row)
    row.text, row.tags, row.author = note.text.replace("\0", ""), [*note.tags], note.author
    row.written = (note.written or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)


def last_notes(session: Session) -> dict[int, datetime]:
    """When something was noted last, by the key of the study."""
    query = select(NoteRow.study_id, func.max(NoteRow.written)).group_by(NoteRow.study_id)
    return {row[0]: row[1] for row in session.execute(query)}
