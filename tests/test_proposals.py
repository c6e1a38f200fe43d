"""The same seed proposes the same plans in every version, and to a study of plain Optuna too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import optuna
import pytest

from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.samplers import SAMPLERS
from isoshare.search.samplers.for_optuna import PlanSampler
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import SharingPlan, Split
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_study, engine_for, space_of, space_with_costs

RECORDED: dict[str, str] = {
    "ehvi": (
        "4f53 0f86 decd fd08 1ebb 8244 4bc1 6159 4f8d 2195 6862 e42d "
        "e957 1835 ec9b 198b cb80 ca6d 33d8 4056 9528 bf6f ec22 fd23"
    ),
    "local": (
        "4f53 0f86 decd fd08 1ebb 8244 4bc1 6159 4f8d 2195 6862 e42d "
        "56b5 5223 bf6f 0fe4 3b67 16c6 d0b7 4065 cd7f f227 28c6 4be2"
    ),
    "random": (
        "4f53 0f86 decd fd08 1ebb 6e3b fdd5 8244 d340 fd23 c4a4 188a "
        "e2ac 4056 a1aa 2127 c9d7 bff7 f4e1 c768 fcca 440f e2bd 850b"
    ),
    "nsga2": (
        "4f53 0f86 decd fd08 1ebb 6e3b 39f1 7f93 d340 fd23 d13b 188a "
        "caf5 63bf 8244 4a47 62ae 28c6 f4e1 8e0f 866c 6159 e2bd a9d5"
    ),
    "tpe": (
        "4f53 0f86 decd fd08 1ebb 6e3b 39f1 7f93 d340 fd23 850b 188a "
        "e2ac 4056 cb80 ca6d c9d7 e2bd 63bf 16c6 fcca f4e1 e2a7 ecc0"
    ),
    "gp": ("4f53 0f86 decd fd08 1ebb 6e3b 39f1 7f93 d340 fd23 c4a4 188a ec22 4056"),
}
"""Per sampler the plans of one search, by the first digits of their fingerprints, as version 0.1
proposed them (ehvi: since it averages over fronts): five sites, all methods, two seeds per plan."""

FOUR = ("kernel", "anchored", "filter_basis", "slice_generator")
"""The methods that there were when the proposals were recorded."""


def test_every_sampler_is_recorded() -> None:
    assert set(RECORDED) == set(SAMPLERS)


@pytest.mark.parametrize("sampler", RECORDED)
def test_a_search_proposes_the_plans_it_always_has(store: Store, sampler: str) -> None:
    space, recorded = space_with_costs(5, FOUR), RECORDED[sampler].split()
    config = make_config({"trials": len(recorded), "replicates": 2, "sampler": sampler})
    run_inline(
        engine_for(store, create_study(store, space, config), config, space), FakeEvaluator()
    )
    assert [trial.plan.fingerprint[:4] for trial in store.trials("study")] == recorded


class SameForEverySeed(FakeEvaluator):
    """The seed of the search changes what is proposed, not what is measured."""

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        for some, seed in zip(super().__call__(plan, [0] * len(seeds), split), seeds, strict=True):
            yield [replace(one, seed=seed) for one in some]


def accuracy(plan: SharingPlan) -> float:
    """What the fake evaluator measures with one seed."""
    (measured,) = next(FakeEvaluator()(plan, (0,), "validation"))
    return measured.values["accuracy"]


@pytest.mark.parametrize("sampler", ["ehvi", "local", "random"])
def test_a_study_of_plain_optuna_gets_the_plans_of_a_search(store: Store, sampler: str) -> None:
    space, found = space_of(5), []
    config = make_config({"trials": 20, "replicates": 1, "sampler": sampler, "seed": 3})
    engine = engine_for(store, create_study(store, space, config), config, space)
    run_inline(engine, SameForEverySeed())

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        plan = space.suggest(trial)
        found.append(plan)
        return accuracy(plan), space.trainable_parameters(plan)

    ours = PlanSampler(space, sampler=sampler, seed=3)
    study = optuna.create_study(sampler=ours, directions=ours.directions)
    study.optimize(objective, n_trials=12)
    study.sampler = PlanSampler(space, sampler=sampler, seed=3)  # as after a restart
    study.optimize(objective, n_trials=8)
    assert found == [trial.plan for trial in store.trials("study")]


def test_plain_optuna_may_have_parameters_of_its_own_failures_and_workers() -> None:
    space = space_of(5)
    sampler = PlanSampler(space)
    study = optuna.create_study(sampler=sampler, directions=sampler.directions)
    asked = [study.ask() for _ in range(30)]
    plans = {space.suggest(trial) for trial in asked}
    assert len(plans) == 30
    assert {trial.suggest_categorical("optimizer", ["sgd", "adamw"]) for trial in asked} == {
        "sgd",
        "adamw",
    }
    for trial in asked[:20]:
        study.tell(trial, [0.5, 100.0])
    study.tell(asked[20], state=optuna.trial.TrialState.FAIL)
    more = [space.suggest(study.ask()) for _ in range(space.count() - 30)]
    assert plans.isdisjoint(more)
    assert len(plans | set(more)) == space.count()
    assert space.suggest(study.ask()) in space, "when all are known, one of them again"


def test_plain_optuna_hears_of_objectives_that_cannot_be_traded() -> None:
    with pytest.raises(IsoshareError, match="objective 'size'"):
        PlanSampler(space_of(3), ("accuracy", "size"))
    with pytest.raises(IsoshareError, match="take --sampler tpe"):
        PlanSampler(space_with_costs(3), ("accuracy", "latency"))
    with pytest.raises(IsoshareError, match=r"is Optuna's own: .* choose 'ehvi' or 'local'"):
        PlanSampler(space_of(3), sampler="tpe")
