"""What a trial of a search costs, before the first one and from those that there are."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from isoshare.evaluators.training.batches import threads_for_now
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.storage.records import TrialRecord


def trial_seconds(prepared: Prepared, trials: Iterable[TrialRecord]) -> float | None:
    """Seconds a trial: the median of those that have finished, or tried out; None: unknown."""
    known = [
        sum(one.seconds for one in trial.measurements if one.split == "validation")
        for trial in trials
        if trial.state == "finished"
    ]
    if known:
        return median(known)
    with threads_for_now(max(1, int(prepared.config.cpus_per_trial))):
        return prepared.evaluator.seconds(prepared.config.replicates)
