"""Where the hypervolume of objectives of the user's own begins, if only a first value can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isoshare.evaluators.objectives import learnt_reference
from isoshare.storage.records import StudyRecord, TrialRecord
from isoshare.storage.store import Store


def with_references(
    store: Store, study: StudyRecord, finished: Sequence[TrialRecord]
) -> StudyRecord:
    """The study with the references that its first finished trial tells, stored; the same study
    where none is missing.
    """
    rows = dict(study.context.objectives)
    missing = [name for name, row in rows.items() if row.reference is None]
    values = {name: finished[0].value(name) for name in missing} if finished else {}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return study
    for name, value in known.items():
        reference = learnt_reference(rows[name].direction, value)
        rows[name] = replace(rows[name], reference=reference)
    context = replace(study.context, objectives=rows)
    store.change_study(study.name, {}, {"objectives": context.document()["objectives"]})
    return replace(study, context=context)
