"""A worker that is killed in the middle of an epoch: the search goes on, and so does its training.

Real processes, real Ray, real digits; the worker kills itself, so that it happens in mid-epoch
however busy the machine is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.training import checkpoints
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import make_config
from isoshare.search.drivers.ray_cluster import ray_cluster
from isoshare.search.drivers.ray_driver import run_on_ray
from isoshare.search.workflows.ends import forget_beaten
from isoshare.search.workflows.launch import prepare, start
from isoshare.storage.store import Store

ROOT = Path(__file__).parent.parent
EPOCHS, BATCHES, TRIALS = 4, 11, 2
DEADLY = 2 * BATCHES + 5
"""The batch, counted over the life of a process, in which the first worker to get there dies."""


@dataclass(frozen=True)
class Deadly(Augmentation):
    """Leaves the images alone, counts the batches in a file, and kills its process once."""

    folder: str = ""

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Called for each batch of a training, in the worker."""
        mine = Path(self.folder, f"{os.getpid()}")
        with mine.open("a") as file:
            file.write(".")
        if mine.stat().st_size == DEADLY:
            try:
                Path(self.folder, "dead").touch(exist_ok=False)
            except FileExistsError:
                return images
            os.kill(os.getpid(), signal.SIGKILL)
        return images


class EveryEpoch(TrainingEvaluator):
    """Keeps a checkpoint after each epoch, however short it is."""

    def __call__(self, *given: Any, **options: Any) -> Iterator[list[Measured]]:
        """As the evaluator it is, in the worker's process."""
        checkpoints.SECONDS_BETWEEN = 0.0
        return super().__call__(*given, **options)


def search_with_a_death(
    store: Store, folder: Path, trials: int = TRIALS, plans: int = 1
) -> TrainingEvaluator:
    """A search of digits whose first worker dies once; returns the evaluator as it was before."""
    config = make_config(
        {
            "study": "s",
            "backbone": "resnet_cifar",
            "backbone_arg": {"depth": 14, "width": 2},
            "validation": 0.5,
            "epochs": EPOCHS,
            "replicates": 1,
            "methods": ["kernel"],
            "trials": trials,
            "workers": 1,
        }
    )
    prepared = prepare(config, store)
    calm = prepared.evaluator
    assert isinstance(calm, TrainingEvaluator)
    parts = {one.name: getattr(calm, one.name) for one in fields(calm) if one.init}
    deadly = EveryEpoch(
        **{**parts, "dataset": replace(calm.dataset, augmentation=Deadly(folder=str(folder)))}
    )
    engine = start(prepared, store)
    engine.on_end = forget_beaten(engine, checkpoint_folder("s"))
    with ray_cluster(1):
        run_on_ray(engine, deadly, 1, plans=plans)
    return calm


def test_a_worker_killed_in_mid_epoch_goes_on_from_its_last_epoch(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers find this file
    counts = tmp_path / "counts"
    counts.mkdir()
    calm = search_with_a_death(store, counts)
    assert len(calm.train_batches.labels) // calm.settings.batch_size == BATCHES

    assert (counts / "dead").exists()
    (counts / "dead").unlink()
    batches = sorted(file.stat().st_size for file in counts.iterdir())
    whole = TRIALS * EPOCHS * BATCHES  # what is tested has been trained
    assert batches[0] == DEADLY
    assert batches[1:] == [whole - 2 * BATCHES], "only the epoch that was cut off is repeated"

    folder = checkpoint_folder("s")
    assert folder is not None
    assert not folder.exists(), "nothing is left behind"

    trials = store.trials("s")
    assert [trial.state for trial in trials] == ["finished"] * TRIALS
    assert [trial.attempts for trial in trials] == [2, *[1] * (TRIALS - 1)]
    for trial in trials:  # as measured without interruption, in this process
        ((again,),) = calm(trial.plan, (0,), "validation")
        assert trial.samples("accuracy") == [again.values["accuracy"]]


def test_plans_that_die_together_are_measured_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one that is too large for a worker takes no other along again."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    counts = tmp_path / "counts"
    counts.mkdir()
    search_with_a_death(store, counts, trials=6, plans=3)
    assert (counts / "dead").exists()
    trials = store.trials("s")
    assert [(trial.state, trial.attempts) for trial in trials] == [
        *[("finished", 2)] * 3,
        *[("finished", 1)] * 3,
    ]
    beside = [
        one.conditions.get("plans_together")
        for trial in trials
        for one in trial.measurements
        if one.split == "validation"
    ]
    assert beside == [None, None, None, 3, 3, 3]
