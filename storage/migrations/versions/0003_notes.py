"""Notes and tags on studies and trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a table; rows stay as they are."""
    op.create_table(
        "note",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("written", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "trial", name="pk_note"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name="fk_note_study_id_study", ondelete="CASCADE"
        ),
    )
