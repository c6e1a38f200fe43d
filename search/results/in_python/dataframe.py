"""The trials of a study as a table of pandas, one row for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isoshare.search.results.describe import plan_in_short
from isoshare.search.results.study_results import Results
from isoshare.storage.records import TrialRecord

if TYPE_CHECKING:
    import pandas


def trials_dataframe(results: Results) -> pandas.DataFrame:
    """Number, state, each objective with its standard error, and the plan, in the order of trials.

    What is not known is NaN, a reason of failure that there is not, empty.
    """
    import pandas

    front = {trial.number for trial in results.front.members}
    context = results.study.context
    names = [axis.name for axis in results.front.axes]
    rows = [
        {**_row(trial, names), "on_front": trial.number in front}
        | {f"argument_{name}": value for name, value in trial.plan.variant}
        | {"sharing": plan_in_short(trial.plan, context.of(trial.plan).sites), "plan": trial.plan}
        for trial in results.trials
    ]
    return pandas.DataFrame(rows)


def _row(trial: TrialRecord, names: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in dict.fromkeys((*names, *trial.exact)):
        values[name] = trial.value(name)
        error = trial.error_bar(name)
        if error is not None:
            values[f"{name}_error"] = error
    return {
        "number": trial.number,
        "state": trial.state,
        **values,
        "seconds": trial.seconds,
        "origin": trial.origin,
        "error": trial.error,
        "fingerprint": trial.plan.fingerprint,
    }
