"""All studies of a database as a table and as JSON; it answers at once, so it imports little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from isoshare.storage.records import StudySummary


def studies_table(studies: Sequence[StudySummary]) -> Table:
    """All studies, one a row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("study", "backbone", "data set"):
        table.add_column(name)
    for name in ("trials", "failed", "stopped", "repeats"):
        table.add_column(name, justify="right")
    table.add_column("started (UTC)")
    for study in studies:
        table.add_row(
            study.name,
            study.config.backbone,
            study.config.dataset,
            f"{_spent(study)}/{study.config.trials}",
            *map(str, (study.failed, study.stopped, study.repeats)),
            f"{study.created:%Y-%m-%d %H:%M}",
        )
    return table


def studies_json(studies: Sequence[StudySummary]) -> list[dict[str, Any]]:
    """What ``studies --json`` prints."""
    return [
        {
            "study": study.name,
            "created": study.created.isoformat(),
            "backbone": study.config.backbone,
            "dataset": study.config.dataset,
            "budget": study.config.trials,
            "finished": study.finished,
            "failed": study.failed,
            "stopped": study.stopped,
            "repeats": study.repeats,
        }
        for study in studies
    ]


def _spent(study: StudySummary) -> int:
    """Of the budget, in which measuring a plan again counts as a trial does."""
    return study.finished + study.failed + study.stopped + study.repeats
