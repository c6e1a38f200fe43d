"""Plans side by side are the plans one after another, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.plans_together import MOST
from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import TrainingRun, finish, train
from isoshare.evaluators.training.vmap_plans import PlansAsOne
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import make_config
from isoshare.search.drivers.results import results_of
from isoshare.search.jobs import Job
from isoshare.search.options.definition import ConfigError
from isoshare.search.workflows.preparation.side_by_side import plans_per_worker
from isoshare.space.backbones import build_backbone
from tests.fakes import FakeEvaluator

ARGUMENTS = {"depth": 14, "width": 4, "classes": 10, "in_channels": 1}
STAGES = [
    tuple(f"stages.{stage}.{block}.conv{conv}" for block in (0, 1) for conv in (1, 2))[1:]
    for stage in (0, 1, 2)
]
GENERATOR = {"slice_size": 4, "code_size": 8}
PLANS = [
    SharingPlan(),
    SharingPlan((Bank("kernel", {}, STAGES[2]),)),
    SharingPlan(
        (Bank("kernel", {"orthogonality": 0.1}, STAGES[0][:2]), Bank("kernel", {}, STAGES[1]))
    ),
    SharingPlan((Bank("slice_generator", GENERATOR, (*STAGES[1], *STAGES[2])),)),
    SharingPlan((Bank("slice_generator", {**GENERATOR, "generator": "binary"}, STAGES[0]),)),
    SharingPlan((Bank("anchored", {}, STAGES[2]), Bank("kernel", {}, STAGES[0]))),
]


class Exact(Batches):
    """Images in double precision: in single precision a training makes much of a rounding."""

    def normalised(self, images: Tensor) -> Tensor:
        return super().normalised(images).double()


@pytest.fixture(scope="module")
def evaluator() -> TrainingEvaluator:
    settings = TrainingSettings(epochs=2, batch_size=64, learning_rate=0.05)
    return TrainingEvaluator("resnet_cifar", ARGUMENTS, load_dataset("digits", 0.5), settings)


def exact(batches: Batches) -> Exact:
    return Exact(**{field.name: getattr(batches, field.name) for field in fields(batches)})


def test_plans_side_by_side_train_as_plans_one_after_another(evaluator: TrainingEvaluator) -> None:
    data, held_out = exact(evaluator.train_batches), exact(evaluator.held_out["validation"])
    backbone = build_backbone("resnet_cifar", ARGUMENTS).double()
    images = data.normalised(data.images[:50])[None]

    def networks() -> dict[SharingPlan, nn.Module]:
        return {plan: evaluator.network(plan, 0).double() for plan in PLANS}

    several = list(networks().values())
    as_one = PlansAsOne(PLANS, several, backbone)
    run = TrainingRun(several, data, evaluator.settings, [0] * len(PLANS), as_one)
    together = finish(run, None, None)
    as_one.write_back()
    logits = together(images.expand(len(PLANS), -1, -1, -1, -1))
    accuracies = accuracy(together, len(PLANS), held_out)
    for place, network in enumerate(networks().values()):
        alone = train([network], data, evaluator.settings, [0])
        assert torch.allclose(alone(images)[0], logits[place], atol=1e-4), PLANS[place]
        assert accuracy(alone, 1, held_out)[0] == accuracies[place]
        written = several[place].eval()(images[0]).float()
        assert torch.allclose(written, logits[place], atol=1e-5), "networks have what was learnt"
    assert len(set(accuracies)) > 2


def test_plans_that_change_more_than_kernels_are_refused(evaluator: TrainingEvaluator) -> None:
    backbone = build_backbone("resnet_cifar", ARGUMENTS)
    banks = {
        "a plan adds statistics": Bank("filter_basis", {"shared_rank": 4}, STAGES[0]),
        "a plan changes more than kernels": Bank(
            "anchored", {"regulator_after": "batch_norm"}, STAGES[0]
        ),
    }
    for says, bank in banks.items():
        plans = (SharingPlan(), SharingPlan((bank,)))
        networks = [evaluator.network(plan, 0) for plan in plans]
        with pytest.raises(ValueError, match=says):
            PlansAsOne(plans, networks, backbone)


def test_several_plans_are_measured_at_once_and_the_others_left(
    evaluator: TrainingEvaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all their seeds; where ends are kept, the test images need no training."""
    basis = SharingPlan((Bank("filter_basis", {"shared_rank": 4}, STAGES[0]),))
    some = replace(evaluator, checkpoints=tmp_path, keeps_ends=True)
    plans = [PLANS[1], basis, PLANS[3], PLANS[4]]
    (found,) = some.together(plans, [3, 4], "validation")
    assert {place: [one.seed for one in of] for place, of in found.items()} == {
        0: [3, 4],
        2: [3, 4],
        3: [3, 4],
    }
    assert all(one.conditions == {"plans_together": 3} for of in found.values() for one in of)
    assert all(0.2 < one.values["accuracy"] <= 1 for of in found.values() for one in of)
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setattr(Batches, "augmented", lambda *_: pytest.fail("trained again"))
    tested = [one for step in some(plans[2], [3, 4], "validation") for one in step]
    assert [one.values for one in tested] == [one.values for one in found[2]]
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        list(some(plans[1], [3], "validation"))


def test_what_is_alone_or_has_begun_or_is_large_is_not_joined(
    evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    some = replace(evaluator, checkpoints=tmp_path)
    assert not list(some.together(PLANS[:1], [0], "validation"))
    assert not list(some.together([PLANS[0], PLANS[5], PLANS[1]][:1], [0], "validation"))
    begun = some.checkpoint(PLANS[1], [0], keeps_end=False)
    begun.save({"epoch": 1})
    (found,) = some.together(PLANS[:4], [0], "validation")
    assert set(found) == {0, 2, 3}
    large = replace(some, settings=replace(some.settings, batch_size=10**6))
    assert not list(large.together(PLANS, [0], "validation"))
    assert (some.most_together(), large.most_together()) == (MOST, 1)


def test_plans_that_cannot_be_trained_together_are_measured_alone() -> None:
    """Whatever goes wrong with several: each tells for itself."""
    jobs = [Job(number, plan, (0,), "validation") for number, plan in enumerate(PLANS[:3])]

    class Breaks(FakeEvaluator):
        def together(self, *_: object) -> Iterator[dict[int, list[Measured]]]:
            yield {0: [Measured(0, {"accuracy": 0.5}, 1.0)]}
            raise RuntimeError("vmap is not to be had here")

    found = [(one.number, one.failure) for one in results_of(jobs, Breaks())]
    assert found == [(0, ""), (1, ""), (2, "")]
    assert [one.number for one in results_of(jobs, FakeEvaluator())] == [0, 1, 2]


def test_jobs_of_other_seeds_or_parts_are_not_joined() -> None:
    alike, other = Job(0, PLANS[0], (0,), "validation"), Job(1, PLANS[1], (0,), "validation")
    assert alike.joins(other)
    for job in (
        replace(other, seeds=(1,)),
        replace(other, split="test"),
        replace(other, rungs=(1,)),
    ):
        assert not job.joins(alike)
        assert not alike.joins(job)


def test_how_many_plans_a_worker_gets(evaluator: TrainingEvaluator) -> None:
    def asked(**options: object) -> tuple[int, str]:
        config = make_config({"trials": 100, "workers": 2, **options})
        return plans_per_worker(config, evaluator)

    assert asked() == (1, "")
    assert asked(plans_per_worker="auto") == (5, "")
    assert asked(plans_per_worker="auto", trials=1000) == (MOST, "")
    assert asked(plans_per_worker="auto", trials=10) == (1, "")
    assert asked(plans_per_worker=12) == (12, "")
    config = make_config({"plans_per_worker": 4})
    plans, reason = plans_per_worker(config, FakeEvaluator())
    assert plans == 1
    assert "one by one" in reason
    with pytest.raises(ConfigError, match="--plans-per-worker is a number up to 99, or auto"):
        make_config({"plans_per_worker": "many"})
