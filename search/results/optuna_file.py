"""A study as a file of Optuna's, for optuna-dashboard and Optuna's own analyses.

It is a copy to look at: the search itself neither reads nor needs it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from isoshare.search.constraints import measured_limits
from isoshare.search.pareto import axes_of, values_of
from isoshare.search.results.describe import plan_in_words
from isoshare.search.results.study_results import Results
from isoshare.search.results.timeline import span_of
from isoshare.space.files import atomic_write
from isoshare.storage.records import StudyRecord, TrialRecord

LEAST_TRIALS = 8
STATES = {
    "finished": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
    "stopped": TrialState.PRUNED,
    "running": TrialState.RUNNING,
}


def write_optuna(results: Results, path: Path) -> str:
    """Write all trials of a study, whole or not at all.

    The database is made in memory: what a full disk does to it is then a failure to write a file.
    """
    axes = axes_of(results.study)
    storage = RDBStorage("sqlite:///:memory:")
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=results.study.name,
            directions=[axis.direction for axis in axes],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([axis.name for axis in axes])
            study.add_trials(frozen_trials(results.study, results.trials))
        with closing(storage.engine.raw_connection()) as connection, atomic_write(path) as half:
            made: Any = connection.driver_connection
            half.write_bytes(made.serialize())
    finally:
        storage.remove_session()
        storage.engine.dispose()
    return f"{len(results.trials)} trials for optuna-dashboard"


def frozen_trials(study: StudyRecord, trials: Sequence[TrialRecord]) -> list[FrozenTrial]:
    """Trials in Optuna's words.

    The choices of a parameter are those that occur in the study: all of them only the space of the
    backbone knows, which is not built to copy a study.
    """
    axes, context, limits = axes_of(study), study.context, measured_limits(study.config.options)
    seen: dict[str, set[Any]] = {}
    for trial in trials:
        for name, value in trial.proposal["params"].items():
            seen.setdefault(name, set()).add(value)
    choices = {name: CategoricalDistribution(sorted(values)) for name, values in seen.items()}
    frozen = []
    for trial in trials:
        values, params = values_of(axes, trial), trial.proposal["params"]
        unmeasured = trial.state == "finished" and values is None
        violation = {one.option: one.violation(trial.value(one.objective) or 0.0) for one in limits}
        made = optuna.trial.create_trial(
            state=TrialState.FAIL if unmeasured else STATES[trial.state],
            values=values,
            params=params,
            distributions={name: choices[name] for name in params},
            user_attrs={
                "plan": plan_in_words(trial.plan, context.of(trial.plan).sites),
                **_notes(trial),
            },
            constraints=None if values is None else violation,
        )
        frozen.append(_in_time(made, trial))
    return frozen


def _in_time(made: FrozenTrial, trial: TrialRecord) -> FrozenTrial:
    """With the times at which the trial ran; Optuna knows local times without a zone."""
    span = span_of(trial)
    if span is not None:
        made.datetime_start = span.begun.astimezone().replace(tzinfo=None)
        ended = span.ended.astimezone().replace(tzinfo=None)
        made.datetime_complete = ended if made.state.is_finished() else None
    return made


def importances(results: Results) -> dict[str, float]:
    """How much each parameter of Optuna's samplers says about the first objective, by fANOVA.

    Empty where it does not apply: for plans that were proposed without parameters, or too few.
    """
    axis = axes_of(results.study)[0]
    trials = [one for one in results.finished if one.proposal["params"]]
    if len(trials) < LEAST_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction=axis.direction)
        for one in frozen_trials(results.study, trials):
            study.add_trial(_of_one_value(one))
        try:
            return dict(optuna.importance.get_param_importances(study))
        except (RuntimeError, ValueError):  # all values alike, or no parameter that all have
            return {}


def _of_one_value(trial: FrozenTrial) -> FrozenTrial:
    """A finished trial with the first of its values alone."""
    return optuna.trial.create_trial(
        value=trial.values[0], params=trial.params, distributions=trial.distributions
    )


def _notes(trial: TrialRecord) -> dict[str, Any]:
    notes = {
        "fingerprint": trial.plan.fingerprint,
        "origin": trial.origin,
        "seconds": trial.seconds,
        "seeds": len(trial.samples("accuracy")),
        "standard error of accuracy": trial.error_bar("accuracy"),
        "error": trial.error,
    }
    return {name: note for name, note in notes.items() if note not in (None, "")}
