"""The tables. Table names are singular: Optuna's own storage uses ``studies`` and ``trials``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from isoshare.space.plan import Split
from isoshare.storage.records import TrialState

CASCADE = "all, delete-orphan"
LARGE = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere: PostgreSQL's INTEGER has 32, SQLite's 64."""


class Base(DeclarativeBase):
    """All tables; constraints get names, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class StudyRow(Base):
    """One search."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created: Mapped[datetime]
    config: Mapped[dict[str, Any]]
    context: Mapped[dict[str, Any]]
    trials: Mapped[list[TrialRow]] = relationship(cascade=CASCADE, order_by="TrialRow.number")


class TrialRow(Base):
    """One plan of a study. A plan can be in a study once, whatever it is written like."""

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "fingerprint"),
        Index(None, "study_id", "state"),  # counted by every list of studies
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    number: Mapped[int]
    fingerprint: Mapped[str]
    banks: Mapped[list[Any] | dict[str, Any]] = mapped_column(JSON)
    origin: Mapped[str]
    state: Mapped[TrialState] = mapped_column(String)
    exact: Mapped[dict[str, Any]]
    proposal: Mapped[dict[str, Any]]
    attempts: Mapped[int]
    error: Mapped[str]
    measurements: Mapped[list[MeasurementRow]] = relationship(
        cascade=CASCADE, order_by="MeasurementRow.id"
    )


class MeasurementRow(Base):
    """One seed of one plan: a second measurement under the same conditions cannot be stored."""

    __tablename__ = "measurement"
    __table_args__ = (UniqueConstraint("trial_id", "split", "seed", "fidelity_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"))
    split: Mapped[Split] = mapped_column(String)
    seed: Mapped[int] = mapped_column(LARGE)
    fidelity_key: Mapped[str]
    fidelity: Mapped[dict[str, Any]]
    values: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    conditions: Mapped[dict[str, Any]]
    stored: Mapped[datetime]


class NoteRow(Base):
    """What people say about a study, or about a trial; trial: -1 for the study itself."""

    __tablename__ = "note"

    study_id: Mapped[int] = mapped_column(
        ForeignKey("study.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    trial: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str]
    tags: Mapped[list[Any]]
    author: Mapped[str]
    written: Mapped[datetime]


class LeaseRow(Base):
    """The driver that runs a study, and when it last said so. Nobody else writes to the study."""

    __tablename__ = "lease"

    study_id: Mapped[int] = mapped_column(
        ForeignKey("study.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    owner: Mapped[str]
    machine: Mapped[str]
    host: Mapped[str]
    process: Mapped[int]
    since: Mapped[datetime]
    heartbeat: Mapped[datetime]


STUDY, TRIAL, MEASUREMENT, LEASE = (
    Base.metadata.tables[name] for name in ("study", "trial", "measurement", "lease")
)
"""The same tables for statements that are run hundreds of times a second: a mapped object costs
several times as much as its row.
"""
