"""A study as Optuna opens it: every trial, its values, its plan."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from isoshare.search.drivers.inline import run_inline
from isoshare.search.results.choose import Selection
from isoshare.search.results.optuna_file import write_optuna
from isoshare.search.results.study_results import load_results
from isoshare.search.workflows.exporting.export import write_optuna as export_optuna
from isoshare.search.workflows.exporting.export_source import ExportOptions, ExportSource
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine, space_of


def test_optuna_opens_the_study_and_finds_the_same_front(
    make_engine: MakeEngine, store: Store, tmp_path: Path
) -> None:
    broken = space_of(5).fully_shared_plan().fingerprint
    run_inline(make_engine(min_accuracy=0.85), FakeEvaluator(broken={broken}))
    assert make_engine(trials=13, min_accuracy=0.85).ask() is not None
    results = load_results(store, "study")
    path = tmp_path / "optuna.db"
    assert write_optuna(results, path) == "13 trials for optuna-dashboard"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.load_study(study_name="study", storage=storage)
    assert study.metric_names == ["accuracy", "parameters"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    states = [trial.state for trial in study.trials]
    assert states[:3] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert states[-1] == TrialState.RUNNING
    assert study.trials[1].user_attrs["error"].endswith("the loss became nan in epoch 1")
    for ours, theirs in zip(results.trials, study.trials, strict=True):
        assert theirs.params == ours.proposal["params"]
        assert theirs.user_attrs["fingerprint"] == ours.plan.fingerprint
        if theirs.state == TrialState.COMPLETE:
            assert theirs.values == [ours.value("accuracy"), ours.value("parameters")]
    assert results.front.excluded
    members = {trial.number for trial in results.front.members}
    assert {trial.number for trial in study.best_trials} == members
    storage.remove_session()
    storage.engine.dispose()
    write_optuna(results, path)  # again, over the file that is there
    assert [one.name for one in tmp_path.glob("optuna*")] == ["optuna.db"]


def test_what_does_not_fit_the_format_is_refused(
    make_engine: MakeEngine, store: Store, tmp_path: Path
) -> None:
    run_inline(make_engine(trials=3), FakeEvaluator())
    results = load_results(store, "study")
    with pytest.raises(IsoshareError, match="leave out what chooses a plan"):
        export_optuna(ExportSource(results, Selection(trial=1)), tmp_path / "o.db", ExportOptions())
    with pytest.raises(IsoshareError, match="holds a whole study: name one"):
        export_optuna(ExportSource(weights=tmp_path / "w"), tmp_path / "o.db", ExportOptions())
    assert list(tmp_path.glob("o.*")) == []
