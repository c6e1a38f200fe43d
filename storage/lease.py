"""Leases: one driver at a time runs a study, and only that one writes to it.

A lease is a row that its owner renews. One that has not been renewed for a while, or whose process
has died on this machine, may be taken over; who has lost it finds that out in the transaction in
which it would have written, and writes nothing.
"""

from __future__ import annotations

import os
import platform
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, DateTime, Select, bindparam, delete, func, select
from sqlalchemy.orm import Session

from isoshare.storage.opening.database import BusyStudyError, LeaseLostError
from isoshare.storage.records import RunningDriver
from isoshare.storage.tables import LEASE, STUDY, LeaseRow

BEAT_SECONDS = 5.0
EXPIRES = timedelta(seconds=60)
"""Longer than a driver waits for a database that is away, and cannot renew anything: a lease is
not lost while its owner still waits."""


HELD = (
    select(STUDY.c.id)
    .join(LEASE, LEASE.c.study_id == STUDY.c.id)
    .where(STUDY.c.name == bindparam("study"), LEASE.c.owner == bindparam("owner"))
    .with_for_update(of=LEASE)
)
"""Made once: it stands before everything that a search writes."""
GIVEN_UP: set[str] = set()
"""Owners in this process that are over, though the database could not take it: on a full disk."""


def this_machine() -> str:
    """Where process numbers mean the same: host, boot, and container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass(frozen=True)
class Holder:
    """Who may hold leases: one store of one process."""

    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    machine: str = field(default_factory=this_machine)
    host: str = field(default_factory=platform.node)
    process: int = field(default_factory=os.getpid)


def take(session: Session, study_id: int, name: str, holder: Holder) -> None:
    """Give ``holder`` the lease of a study. Raises BusyStudyError if another driver has it."""
    check_free(session, study_id, name, holder)
    GIVEN_UP.discard(holder.owner)
    now, row = _now(session), session.scalar(_row(study_id))
    if row is None:
        row = LeaseRow(study_id=study_id, owner="")
        session.add(row)
    if row.owner != holder.owner:
        row.since, row.owner = now, holder.owner
        row.machine, row.host, row.process = holder.machine, holder.host, holder.process
    row.heartbeat = now


def check_free(session: Session, study_id: int, name: str, holder: Holder) -> None:
    """Raise BusyStudyError if a driver other than ``holder`` runs the study."""
    row = session.scalar(_row(study_id))
    if row is None or row.owner == holder.owner:
        return
    now = _now(session)
    if _is_live(row, now, holder):
        raise BusyStudyError(
            f"study {name!r} is being run since {row.since:%Y-%m-%d %H:%M} UTC by process "
            f"{row.process} on {row.host}, last heard of {_silence(row, now)} s ago: "
            f"wait for it, or stop it there; when it has died, {EXPIRES.seconds} s of silence set "
            "the study free"
        )


def running_drivers(session: Session, holder: Holder) -> dict[int, RunningDriver]:
    """Who runs which study now, by the key of the study; ``holder`` only looks."""
    rows = session.scalars(select(LeaseRow)).all()
    now = _now(session) if rows else datetime.max
    return {
        row.study_id: RunningDriver(row.host, row.process, row.since.replace(tzinfo=UTC))
        for row in rows
        if _is_live(row, now, holder)
    }


def held_study(connection: Connection, name: str, holder: Holder) -> int | None:
    """The key of a study that ``holder`` runs, which nobody takes over before this transaction
    ends; None if it does not run it.
    """
    owned = {"study": name, "owner": holder.owner}
    return connection.execute(HELD, owned).scalar()


def lost(connection: Connection, study_id: int, name: str) -> LeaseLostError:
    """Why a driver that had the lease of a study writes nothing more."""
    row = connection.execute(select(LEASE).where(LEASE.c.study_id == study_id)).first()
    by = f"process {row.process} on {row.host}" if row else "somebody who has ended since"
    return LeaseLostError(
        f"study {name!r} was taken over by {by}, because this process was silent for "
        f"{EXPIRES.seconds} s: nothing more is written here"
    )


def renew(session: Session, study_id: int, holder: Holder) -> None:
    """Renew the lease of ``holder``."""
    row = session.scalar(_row(study_id))
    if row is not None and row.owner == holder.owner:
        row.heartbeat = _now(session)


def release(session: Session, study_id: int, holder: Holder) -> None:
    """Release the lease of ``holder`` on a study."""
    ours = (LeaseRow.study_id == study_id, LeaseRow.owner == holder.owner)
    session.execute(delete(LeaseRow).where(*ours))


def _is_live(row: LeaseRow, now: datetime, holder: Holder) -> bool:
    """Whether the driver of a lease runs, as far as ``holder`` can tell.

    A clock that was set back leaves heartbeats in the future: until the next one, only a process
    that is seen to live proves anything.
    """
    here = row.machine == holder.machine
    if row.owner in GIVEN_UP or (here and not _alive(row.process)):
        return False
    silent = now - row.heartbeat
    return silent < EXPIRES and (here or silent > -EXPIRES)


def _silence(row: LeaseRow, now: datetime) -> int:
    """Seconds since the last heartbeat."""
    return max(0, round((now - row.heartbeat).total_seconds()))


def _row(study_id: int) -> Select[LeaseRow]:
    return select(LeaseRow).where(LeaseRow.study_id == study_id).with_for_update()


def _now(session: Session) -> datetime:
    """The clock of the database, which all machines share."""
    now: datetime = session.scalar(select(func.now(type_=DateTime)))  # type: ignore[assignment]
    return now if now.tzinfo is None else now.astimezone(UTC).replace(tzinfo=None)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
