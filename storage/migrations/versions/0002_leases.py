"""Leases, an index for lists of studies, seeds of 64 bits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a table and an index; rows stay as they are."""
    op.create_table(
        "lease",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("heartbeat", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", name="pk_lease"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name="fk_lease_study_id_study", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_trial_study_id_state", "trial", ["study_id", "state"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite's integers have 64 bits anyway
        op.alter_column("measurement", "seed", type_=sa.BigInteger(), existing_nullable=False)
