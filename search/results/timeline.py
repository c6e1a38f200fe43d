"""When trials ran, and beside which others: from the times of their measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from isoshare.storage.records import TrialRecord

RECENT = 20
"""So many trials that ended last say how fast a search is now."""


@dataclass(frozen=True)
class Span:
    """One trial in time. lane: where nothing else is then; who worked on it is not known."""

    trial: TrialRecord
    begun: datetime
    ended: datetime
    lane: int = 0


def span_of(trial: TrialRecord) -> Span | None:
    """From the first training of a trial on validation images to the last; None without one."""
    measured = [m for m in trial.measurements if m.split == "validation" and m.stored]
    if not measured:
        return None
    begun = min(m.stored - timedelta(seconds=m.seconds) for m in measured if m.stored)
    return Span(trial, begun, max(m.stored for m in measured if m.stored))


def timeline(trials: Sequence[TrialRecord]) -> list[Span]:
    """The spans of trials by their beginning, each in the first lane that is free."""
    spans = sorted(filter(None, map(span_of, trials)), key=lambda span: span.begun)
    free: list[datetime] = []
    placed = []
    for span in spans:
        lane = next((at for at, until in enumerate(free) if until <= span.begun), len(free))
        free[lane : lane + 1] = [span.ended]
        placed.append(Span(span.trial, span.begun, span.ended, lane))
    return placed


def seconds_left(trials: Sequence[TrialRecord], left: int) -> float | None:
    """How long so many more trials take, as fast as the last ones ended; None if few have."""
    ends = sorted(span.ended for trial in trials if (span := span_of(trial)))[-RECENT:]
    if len(ends) < 3 or left <= 0:
        return None
    return (ends[-1] - ends[0]).total_seconds() / (len(ends) - 1) * left
