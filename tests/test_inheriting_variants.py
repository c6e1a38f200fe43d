"""Inheritance where the backbone varies: each variant is trained once, or has given weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

import isoshare
from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.training.distillation import DistilledTraining
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.drivers.ray_cluster import ray_cluster
from isoshare.search.drivers.ray_driver import run_on_ray
from isoshare.search.results.choose import plan_file
from isoshare.search.workflows.launch import prepare, prepare_resume, start
from isoshare.search.workflows.outlook import outlook
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.search.workflows.reproduce import prepare_reproduction, run_reproduction
from isoshare.space.backbones.convmixer import ConvMixer, convmixer
from isoshare.space.errors import WeightsError
from isoshare.space.inheritance import TrainedWeightsWarning
from isoshare.space.plan import SharingPlan, Variant
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store
from tests.fakes import Command
from tests.own_tasks import SeriesNet
from tests.test_own_data import OWN

ROOT = Path(__file__).parent.parent

FIXED = {"kernel": 3, "patch": 2, "depth": 2, "classes": 10, "in_channels": 1}
ASKED: dict[str, Any] = {
    **{"study": "s", "backbone": "convmixer", "backbone_arg": FIXED, "dataset": "digits"},
    **{"vary": {"width": (4, 6)}, "methods": ("kernel",), "evaluator": "inherit"},
    **{"pretrain_epochs": 2, "epochs": 1, "replicates": 1, "trials": 6, "batch_size": 32},
    **{"validation": 0.5, "precision": "float32", "seed": 3},
}
NARROW: Variant = (("width", 4),)
WIDE: Variant = (("width", 6),)


def mixer(width: int, scaled: bool = True) -> ConvMixer:
    """A mixer one of whose arguments no weight knows of."""
    network = convmixer(**{**FIXED, "width": width})
    network.scale = 2 if scaled else 1  # type: ignore[assignment]
    return network


def seeded(width: int) -> ConvMixer:
    """One that always has the same weights, as if it had learned them."""
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return mixer(width)


@dataclass(frozen=True)
class Mortal(InheritingEvaluator):
    """Knows its unshared networks, and dies once, at its first plan."""

    folder: str = ""

    def __call__(self, *given: Any, **options: Any) -> Iterator[list[Measured]]:
        """As the evaluator it is, in the worker's process."""
        with suppress(FileExistsError):
            Path(self.folder, "dead").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().__call__(*given, **options)

    def _obtain(self, *_: Any) -> NoReturn:
        raise AssertionError("workers train no unshared network")


def made(store: Store, **options: Any) -> tuple[Prepared, InheritingEvaluator]:
    """A search that is ready to be prepared, and what measures in it."""
    prepared = prepare(make_config({**ASKED, **options}), store)
    assert isinstance(prepared.evaluator, InheritingEvaluator)
    return prepared, prepared.evaluator


def weights_of(folder: Path, width: int = 4) -> str:
    """A file of weights that a mixer of this width has."""
    torch.save(seeded(width).state_dict(), folder / "w.pt")
    return str(folder / "w.pt")


def run(prepared: Prepared, store: Store) -> list[TrialRecord]:
    """The trials of a search from its start to its end, in this process."""
    prepared.evaluator.prepare(variants=prepared.space.members)
    run_inline(start(prepared, store), prepared.evaluator)
    store.release_lease("s")
    return store.trials("s")


def told(trials: list[TrialRecord]) -> list[Any]:
    """What was measured of which plan."""
    return [(one.plan, one.samples("accuracy"), one.samples("accuracy", "test")) for one in trials]


def test_each_variant_is_trained_once_and_found_again(store: Store) -> None:
    prepared, evaluator = made(store)
    variants = prepared.space.members
    ahead = evaluator.pretraining(variants)
    assert ahead is not None
    assert (ahead.networks, ahead.epochs) == (2, 2)
    assert ahead.seconds is not None
    assert 0 < ahead.seconds < 60
    (said,) = (note for note in outlook(prepared)["notes"] if "unshared" in note)
    assert said.startswith("2 unshared networks are trained first, for 2 epochs")
    heard: list[tuple[int, int]] = []
    evaluator.prepare(lambda epoch, epochs, _: heard.append((epoch, epochs)), variants)
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    _, again = made(store)
    assert again.pretraining(variants) is None
    again.prepare(lambda *_: pytest.fail("nothing is left to be trained"), variants)
    for variant in variants:
        kept = again.trained(variant).state
        before = evaluator.trained(variant).state
        assert all(torch.equal(kept[name], one) for name, one in before.items())


def test_a_plan_inherits_from_its_variant(store: Store) -> None:
    prepared, evaluator = made(store, epochs=0, distill=True)
    evaluator.prepare(variants=prepared.space.members)
    for variant in prepared.space.members:
        trained = evaluator.unshared(variant)
        width = dict(variant)["width"]
        network = evaluator.network(SharingPlan(variant=variant), 0)
        assert torch.equal(
            network.get_parameter("head.weight"), trained.get_parameter("head.weight")
        )
        assert network.get_parameter("head.weight").shape == (10, width)
        training = evaluator.training([network], [0], variant)
        assert isinstance(training, DistilledTraining)
        assert training.teacher.network.get_parameter("head.weight").shape == (10, width)
        shared = evaluator.network(prepared.space.members[variant].fully_shared_plan(), 0)
        assert shared.get_parameter("head.weight").shape == (10, width)


def test_a_search_that_is_taken_up_again_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store(f"sqlite:///{tmp_path}/whole.db")
    expected = told(run(made(whole)[0], whole))
    assert {plan.variant for plan, *_ in expected} == {NARROW, WIDE}
    monkeypatch.setenv("ISOSHARE_CACHE", str(tmp_path / "other"))  # nothing is found there
    halves = Store(f"sqlite:///{tmp_path}/halves.db")
    prepared, evaluator = made(halves)
    evaluator.prepare(variants=prepared.space.members)
    engine = start(prepared, halves)
    for _ in range(3):
        job = engine.ask()
        assert job is not None
        (measured,) = evaluator(job.plan, job.seeds, job.split)
        engine.tell(job.number, measured)
    halves.release_lease("s")
    assert told(run(prepare_resume("s", halves, {}), halves)) == expected


def test_workers_train_no_unshared_network_even_when_one_dies(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers find this file
    prepared, evaluator = made(store, trials=4, workers=2, epochs=0)
    evaluator.prepare(variants=prepared.space.members)
    parts = {one.name: getattr(evaluator, one.name) for one in fields(evaluator) if one.init}
    mortal = Mortal(**parts, folder=str(tmp_path))
    mortal._trained.update(evaluator._trained)
    with ray_cluster(2):
        run_on_ray(start(prepared, store), mortal, 2)
    assert (tmp_path / "dead").exists()
    trials = store.trials("s")
    assert [trial.state for trial in trials] == ["finished"] * 4
    assert sum(trial.attempts for trial in trials) == 5
    for trial in trials:
        ((again,),) = evaluator(trial.plan, (0,), "validation")
        assert trial.samples("accuracy") == [again.values["accuracy"]]


def test_an_exported_plan_is_reproduced_without_training_its_variant_again(
    store: Store, tmp_path: Path
) -> None:
    trials = run(made(store)[0], store)
    narrow = next(one for one in trials if one.plan.variant == NARROW and one.plan.banks)
    plan_file(store.study("s"), narrow).save(tmp_path / "plan.json")
    request = prepare_reproduction(tmp_path / "plan.json")
    assert request.evaluator.pretraining() is None
    assert run_reproduction(request, lambda *_: None)["verdict"] == "bit-equal"


def test_given_weights_belong_to_the_variant_that_they_fit(store: Store, tmp_path: Path) -> None:
    prepared, evaluator = made(store, weights=weights_of(tmp_path))
    (said,) = (note for note in prepared.notes if "w.pt" in note)
    assert "w.pt fits width=4; the other one is trained first, for 2 epochs" in said
    ahead = evaluator.pretraining(prepared.space.members)
    assert ahead is not None
    assert ahead.networks == 1
    evaluator.prepare(variants=prepared.space.members)
    given, state = seeded(4).state_dict(), evaluator.trained(NARROW).state
    assert all(torch.equal(state[name], one) for name, one in given.items())
    _, alone = made(store)  # the other one is trained as if no weights had been given
    ahead = alone.pretraining(prepared.space.members)
    assert ahead is not None
    assert ahead.networks == 1


def test_weights_may_fit_several_variants_or_none(store: Store, tmp_path: Path) -> None:
    mine = {"backbone": f"{__name__}:mixer", "backbone_arg": {}, "weights": weights_of(tmp_path)}
    both = {"width": (4,), "scaled": (True, False)}
    prepared, evaluator = made(store, **mine, vary=both)
    assert any("w.pt fits all 2 variants" in note for note in prepared.notes)
    assert evaluator.pretraining(prepared.space.members) is None
    some, _ = made(store, **mine, vary={**both, "width": (4, 6, 8)})
    said = " ".join(some.notes)
    assert "fits 2 of the 6 variants, scaled=true width=4, scaled=false width=4; the 4" in said
    with pytest.raises(WeightsError, match=r"none of 2 variants has such weights: .*another width"):
        made(store, **mine, vary={"width": (6, 8)})


def test_the_command_line_says_what_is_wrong(command: Command, tmp_path: Path) -> None:
    words = ("--backbone", f"{__name__}:mixer", "--vary", "width=6,8", "--epochs", 0)
    launched = ("launch", *words, "--storage", "sqlite://", "--weights")
    code, _, said = command(*launched, weights_of(tmp_path))
    assert (code, "none of 2 variants has such weights" in said) == (2, True)
    code, said, _ = command(*launched, weights_of(tmp_path, 6), "--dry-run", "--pretrain-epochs", 3)
    assert code == 0
    assert "1 unshared network is trained first, for 3 epochs: about" in said


def test_a_function_in_python_makes_each_variant_trained() -> None:
    study = isoshare.create_study(seeded, weights="inherit", vary={"width": [4, 6]})
    seen = set()
    for _ in range(8):
        trial = study.ask()
        width = dict(trial.plan.variant)["width"]
        network, known = trial.network(), seeded(int(width))
        assert torch.equal(network.get_parameter("head.weight"), known.head.weight.cpu())
        seen.add(width)
        study.tell(trial, 0.5)
    assert seen == {4, 6}
    with pytest.warns(TrainedWeightsWarning, match="draws the weights of width=4, width=6 anew"):
        isoshare.create_study(mixer, weights="inherit", vary={"width": [4, 6]})


def test_data_of_ones_own_are_searched_with_the_variants_that_have_weights(
    store: Store, tmp_path: Path
) -> None:
    torch.save(SeriesNet(2, 1, width=6).state_dict(), tmp_path / "w.pt")
    named = {"backbone": OWN[1], "dataset": OWN[3], "objectives": ("loss:min", "parameters")}
    asked = {"weights": str(tmp_path / "w.pt"), "epochs": 0, "methods": ["kernel"], "trials": 2}
    asked |= {"vary": {"width": (4, 6)}, "study": "s"}
    with pytest.warns(
        UserWarning, match=r"left out width=4 \(1 of the variants\): .*w.pt does not"
    ):
        prepared = prepare(make_config({**named, **asked}), store)
    run_inline(start(prepared, store), prepared.evaluator)
    store.release_lease("s")
    assert {trial.plan.variant for trial in store.trials("s")} == {WIDE}
    again = prepare_resume("s", store, {"backbone": OWN[1], "dataset": OWN[3], "trials": 3})
    assert list(again.space.members) == [WIDE]
