"""The ends of trainings: kept while a plan is on the front, so that testing it trains nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.training.trainer import TrainingRun
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.workflows.ends import forget_beaten
from isoshare.search.workflows.launch import prepare, prepare_resume, start
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store

EPOCHS, TRIALS, SEEDS = 3, 4, (0, 1)


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each epoch of a training from now on."""
    done: list[int] = []
    run = TrainingRun._run_epoch

    def counted(self: TrainingRun) -> float:
        done.append(self.epoch)
        return run(self)

    monkeypatch.setattr(TrainingRun, "_run_epoch", counted)
    return done


def config_of(**options: Any) -> Any:
    backbone = {"backbone": "resnet_cifar", "backbone_arg": {"depth": 8, "width": 2}}
    size = {"validation": 0.5, "epochs": EPOCHS, "replicates": len(SEEDS), "trials": TRIALS}
    return make_config({"study": "s", **backbone, **size, **options})


def begun(store: Store) -> tuple[Prepared, Engine, Path]:
    """A search that is about to run, and its checkpoint folder."""
    prepared, folder = prepare(config_of(), store), checkpoint_folder("s")
    assert folder is not None
    return prepared, start(prepared, store), folder


def files(folder: Path) -> set[str]:
    return {file.name.partition("-")[0] for file in folder.glob("*.pt")}


def test_the_front_is_tested_without_training_and_leaves_nothing(
    store: Store, epochs: list[int]
) -> None:
    prepared, engine, folder = begun(store)
    forget, stray = forget_beaten(engine, folder), set()

    def ended(trial: TrialRecord) -> None:
        forget(trial)
        stray.update(
            files(folder) - {one.plan.fingerprint for one in engine.search_state.front.members}
        )

    engine.on_end = ended
    run_inline(engine, prepared.evaluator)
    assert len(epochs) == TRIALS * EPOCHS
    assert not stray, "what is beaten goes at once"
    assert not folder.exists(), "nothing is left behind"
    assert isinstance(prepared.evaluator, TrainingEvaluator)
    afresh = replace(prepared.evaluator, checkpoints=None)
    assert len(engine.search_state.front.members) > 1
    for trial in store.trials("s"):
        if trial.number not in {one.number for one in engine.search_state.front.members}:
            assert not trial.samples("accuracy", "test")
            continue
        (measured,) = afresh(trial.plan, SEEDS, "test")
        assert trial.samples("accuracy", "test") == [one.values["accuracy"] for one in measured]


def test_after_an_interruption_the_tests_still_train_nothing(
    store: Store, epochs: list[int]
) -> None:
    prepared, engine, folder = begun(store)
    forget = forget_beaten(engine, folder)

    def stop(trial: TrialRecord) -> None:
        forget(trial)
        if trial.number == TRIALS - 1:
            engine.stopping.ask()

    engine.on_end = stop
    run_inline(engine, prepared.evaluator)
    assert files(folder) == {one.plan.fingerprint for one in engine.search_state.front.members}
    store.release_lease("s")
    again = prepare_resume("s", store, {})
    later: Engine = start(again, store)
    later.on_end = forget_beaten(later, folder)
    run_inline(later, again.evaluator)
    tested = {one.number for one in store.trials("s") if one.samples("accuracy", "test")}
    assert tested == {one.number for one in later.search_state.front.members}
    assert len(epochs) == TRIALS * EPOCHS
    assert not folder.exists()


def test_on_a_cluster_nothing_is_kept(store: Store) -> None:
    prepared = prepare(config_of(ray_address="127.0.0.1:6379"), store)
    assert isinstance(prepared.evaluator, TrainingEvaluator)
    assert not prepared.evaluator.keeps_ends
