"""Searches that vary the arguments of their backbone: launched, stored, taken up, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import isoshare
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import ConfigError, make_config, requested
from isoshare.search.options.words import read_words
from isoshare.search.results.choose import plan_file
from isoshare.search.results.study_results import load_results
from isoshare.search.results.tables import front_json
from isoshare.search.workflows.administration.archive import restore_archive, write_archive
from isoshare.search.workflows.importance import effects
from isoshare.search.workflows.inspect import inspect_plan
from isoshare.search.workflows.launch import prepare, prepare_resume
from isoshare.search.workflows.preparation.network import network_space
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.search.workflows.train import prepare_training
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import IsoshareError, PlanError
from isoshare.storage.store import Store

ASKED: dict[str, Any] = {
    **{"backbone": "resnet_cifar", "dataset": "digits", "epochs": 1, "trials": 8},
    **{"vary": {"depth": (8, 9, 14), "width": (2, 4)}, "methods": ("kernel",)},
}


class Chain(nn.Module):
    """Equal convolutions of some width, one after another."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 1)
        self.convs = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 1, height, width)."""
        made: Tensor = self.convs(self.stem(x))
        return made


def chain(width: int, depth: int = 2) -> nn.Module:
    """A chain that cannot be 5 wide."""
    if width == 5:
        raise ValueError("width must not be 5")
    return Chain(width, depth)


def classified(width: int, depth: int = 2) -> nn.Module:
    """The same with a head for digits."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(chain(width, depth), *head)


def size_and_seed(network: nn.Module, trial: isoshare.Trial) -> float:
    """More parameters are better, a little."""
    return float(torch.log(torch.tensor(float(count_parameters(network))))) / 10


@pytest.fixture(scope="module")
def launched() -> Prepared:
    """A search over four variants, of six that were asked for."""
    return prepare(make_config(ASKED), Store("sqlite://"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> isoshare.Study:
    """A finished study over the variants of a function of the caller's own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('study')}/isoshare.db"
    varied = {"width": [2, 3], "depth": [2, 3]}
    study = isoshare.create_study(chain, "mine", vary=varied, storage=url, seed=1)
    study.optimize(size_and_seed, n_trials=16, show_progress_bar=False)
    return study


def test_variants_that_the_backbone_refuses_are_told_once_and_left_out(launched: Prepared) -> None:
    assert {dict(variant)["depth"] for variant in launched.space.members} == {8, 14}
    said = [sentence for sentence in launched.warnings if "left out" in sentence]
    assert len(said) == 1
    assert "depth=9 width=2, depth=9 width=4 (2 of the variants)" in said[0]
    assert "6n + 2" in said[0]


def test_variants_that_fail_for_one_reason_are_told_in_one_sentence() -> None:
    mine = {"backbone": f"{__name__}:classified", "dataset": "digits", "methods": ("kernel",)}
    varied = {"vary": {"width": (2, 5), "depth": (2, 3)}}
    prepared = prepare(make_config({**mine, **varied}), Store("sqlite://"))
    (said,) = (sentence for sentence in prepared.warnings if "left out" in sentence)
    assert "left out depth=2 width=5, depth=3 width=5 (2 of the variants): backbone" in said
    assert "failed: ValueError: width must not be 5 (" in said


def test_sizes_are_compared_with_the_largest_variant_or_the_one_given(launched: Prepared) -> None:
    arguments = launched.config.backbone_arg
    assert (arguments["depth"], arguments["width"]) == (14, 4)
    assert launched.study.context.unshared == launched.space.unshared
    asked = {**ASKED, "backbone_arg": {"width": 2}}
    given = prepare(make_config(asked), Store("sqlite://")).config.backbone_arg
    assert (given["depth"], given["width"]) == (14, 2)


def test_the_network_that_is_trained_is_that_of_the_variant(launched: Prepared) -> None:
    evaluator = launched.evaluator
    assert isinstance(evaluator, TrainingEvaluator)
    for variant, space in launched.space.members.items():
        network = evaluator.network(space.smallest_plan, 0)
        assert count_parameters(network) == space.trainable_parameters(space.smallest_plan)
        assert dict(variant)["width"] == network.get_submodule("stem").out_channels


def test_an_exported_plan_names_its_variant_and_is_trained_on_it(
    launched: Prepared, tmp_path: Path
) -> None:
    variant = (("depth", 8), ("width", 2))
    trial = isoshare_trial(launched, variant)
    file = plan_file(launched.study, trial)
    assert file.backbone is not None
    assert {**file.backbone.arguments, **dict(variant)} == file.backbone.arguments
    assert file.parameters is not None
    assert file.parameters.unshared == launched.space.members[variant].unshared
    training = prepare_training(file, tmp_path / "model.safetensors", "fresh", {"epochs": 1})
    network = training.evaluator.network(training.plan.plan, 0)
    assert count_parameters(network) == file.parameters.shared


def test_a_plan_file_is_refused_by_another_variant(launched: Prepared, tmp_path: Path) -> None:
    variant = (("depth", 14), ("width", 2))
    file = plan_file(launched.study, isoshare_trial(launched, variant))
    file.save(tmp_path / "plan.json")
    plan = isoshare.SharingPlan.load(tmp_path / "plan.json")
    assert plan.variant == variant
    found = inspect_plan(tmp_path / "plan.json")
    assert found["fingerprint"] == plan.fingerprint == file.provenance["fingerprint"]

    def made(**arguments: int) -> nn.Module:
        return build_backbone("resnet_cifar", {**launched.config.backbone_arg, **arguments})

    own = isoshare.apply_plan(made(**dict(plan.variant)), plan)
    assert plan.counts is not None
    assert count_parameters(own) == plan.counts.shared
    isoshare.apply_plan(made(**dict(plan.variant), classes=7), plan)
    says = r"is for the variant depth=14 width=2, with .*make the network with depth=14, width=2"
    for other in ({"depth": 14, "width": 4}, {"depth": 20, "width": 2}):
        with pytest.raises(PlanError, match=says):
            isoshare.apply_plan(made(**other), plan)
    with pytest.raises(PlanError, match=r"has no site .*make the network with depth=14, width=2"):
        isoshare.apply_plan(made(depth=8, width=2), plan)


def isoshare_trial(launched: Prepared, variant: tuple[tuple[str, int], ...]) -> Any:
    """A trial of the smallest plan of a variant, not measured."""
    from isoshare.storage.records import TrialRecord

    plan = launched.space.members[variant].smallest_plan
    exact = {"parameters": float(launched.space.trainable_parameters(plan))}
    return TrialRecord(0, plan, "sampler", "finished", exact, {"params": {}, "system_attrs": {}})


def test_a_search_goes_on_only_on_the_networks_it_was_started_with(
    launched: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("sqlite://")
    store.create_study(launched.study)
    again = prepare_resume(launched.study.name, store, {})
    assert again.space.count() == launched.space.count()
    assert not any("left out" in sentence for sentence in again.warnings)

    whole = network_space

    def changed(*asked: Any) -> Any:
        space = whole(*asked)
        space.unshared += dict(space.variant)["width"] == 2
        return space

    monkeypatch.setattr("isoshare.search.workflows.preparation.varying.network_space", changed)
    with pytest.raises(IsoshareError, match="its layers have changed"):
        prepare_resume(launched.study.name, store, {})


def test_a_study_in_python_over_the_arguments_of_a_function(searched: isoshare.Study) -> None:
    trials = searched.trials
    assert {trial.plan.variant for trial in trials} == {
        (("depth", depth), ("width", width)) for depth in (2, 3) for width in (2, 3)
    }
    unshared = [trial for trial in trials if not trial.plan.banks]
    assert len(unshared) == 4
    for trial in unshared:
        built = chain(**dict(trial.plan.variant))  # type: ignore[arg-type]
        assert trial.value("parameters") == count_parameters(built)


def test_a_study_of_variants_is_read_and_taken_up_again(searched: isoshare.Study) -> None:
    plans = [trial.plan for trial in searched.trials]
    again = isoshare.load_study("mine", str(searched._store._database.url), chain)
    assert [trial.plan for trial in again.trials] == plans
    trial = again.ask()
    assert count_parameters(trial.network()) == trial_size(again, trial.number)
    again.tell(trial, 0.5)


def trial_size(study: isoshare.Study, number: int) -> float | None:
    """What the study knows of the size of a trial's network."""
    return next(one for one in study.trials if one.number == number).value("parameters")


def test_results_name_the_variant(searched: isoshare.Study) -> None:
    results = load_results(searched._store, "mine")
    assert all(
        set(member["arguments"]) == {"depth", "width"} for member in front_json(results)["front"]
    )
    frame = searched.trials_dataframe()
    assert set(frame["argument_width"]) == {2, 3}
    assert frame["sharing"].str.match(r"depth=\d width=\d: ").all()
    assert all(effect.seen for effect in effects(results))


def test_a_study_of_variants_survives_an_archive(searched: isoshare.Study, tmp_path: Path) -> None:
    path = tmp_path / "mine.isoshare"
    write_archive(searched._store, "mine", path)
    other = Store(f"sqlite:///{tmp_path}/other.db")
    restore_archive(other, path)
    assert other.study("mine").context == searched._store.study("mine").context
    assert [one.plan for one in other.trials("mine")] == [one.plan for one in searched.trials]


def test_variants_that_a_function_refuses_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"left out width=5 \(1 of the variants\).*must not be 5"):
        isoshare.create_study(chain, vary={"width": [2, 5]})
    with pytest.raises(IsoshareError, match=r"none of the 1 variants is possible: .* not be 5"):
        isoshare.create_study(chain, vary={"width": [5]})
    with pytest.raises(IsoshareError, match="unexpected keyword argument 'height'"):
        isoshare.create_study(chain, vary={"height": [5, 6]})


def test_a_module_has_no_variants() -> None:
    with pytest.raises(IsoshareError, match="a module has none: give create_study the function"):
        isoshare.create_study(chain(2), vary={"width": [2, 3]})


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["width=8,12", "width=16"], "names width twice"),
        (["width"], "must look like width=8,12,16"),
        (["width=8,,12"], "must look like width=8,12,16"),
    ],
)
def test_what_is_typed_wrong_is_refused(typed: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_words({"vary": typed})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"vary": {"width": (8, 8)}}, "different values, one or more, got width=8,8"),
        ({"vary": {"width": ()}}, "different values, one or more, got width="),
        ({"vary": {"width": (8, 12)}, "backbone_arg": {"width": 16}}, "width=16 is not among"),
        ({"vary": {"a": range(20), "b": range(20)}}, "256 variants.*got 400"),
        ({"vary": {"width": (8,)}, "table": "sharebench-digits"}, "made without --vary"),
    ],
)
def test_what_cannot_vary_is_refused(asked: dict[str, Any], message: str) -> None:
    varied = {key: tuple(values) for key, values in asked["vary"].items()}
    given = {**asked, "vary": varied}
    with pytest.raises(ConfigError, match=message):
        requested({"backbone": "resnet_cifar", **given} if "table" not in given else given)


def test_values_are_read_as_they_are_typed() -> None:
    found = read_words({"vary": ["width=8,12", "kind=a,b", "deep=true,false", "rate=0.5"]})["vary"]
    assert found == {
        **{"width": (8, 12), "kind": ("a", "b"), "deep": (True, False)},
        "rate": (0.5,),
    }
    written = make_config({"backbone": "resnet_cifar", "vary": found}).document()
    assert make_config(json.loads(json.dumps(written))).vary == found
