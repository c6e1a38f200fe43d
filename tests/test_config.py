"""Options: the same keys in TOML and on the command line, each wrong one refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.data.datasets import DATASETS
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.cli import main as cli
from isoshare.search.config import (
    ConfigError,
    SearchConfig,
    load_config,
    make_config,
)
from isoshare.search.defaults import FIRST_SEARCH
from isoshare.search.options import OPTIONS, PARTS
from isoshare.search.options.definition import as_typed
from isoshare.search.options.words import parse_argument, read_words
from isoshare.search.samplers import SAMPLERS
from isoshare.space.backbones import BACKBONES
from isoshare.space.methods import METHODS


def parameters_of(command: str) -> dict[str, Any]:
    """The options of a command by name, as its parser has them."""
    commands: Any = typer.main.get_command(cli.app)
    return {parameter.name: parameter for parameter in commands.commands[command].params}


def test_every_option_of_a_search_has_one_definition() -> None:
    assert list(OPTIONS) == [name for part in PARTS for name in part.model_fields]
    assert {*OPTIONS} == {*SearchConfig.model_fields}
    assert {*parameters_of("launch")} == {*OPTIONS, "config", "dry_run", "as_json"}
    for name, option in OPTIONS.items():
        assert option.help.endswith("."), name
        assert parameters_of("launch")[name].help == option.help
        assert parameters_of("launch")[name].default is None


IN_WORDS = ("backbone", "methods", "rungs", "solve_first", "storage", "workers")
"""Options whose default the help tells in words."""


def test_the_help_tells_the_true_default() -> None:
    defaults = make_config({"backbone": "resnet_cifar"})
    for name, option in OPTIONS.items():
        value = getattr(defaults, name)
        if name not in IN_WORDS:
            shown = as_typed(value) or option.default
            assert option.default == shown, name
        assert parameters_of("launch")[name].show_default == (option.default or False)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"methods": "kernel, anchored"}, {"methods": ("kernel", "anchored")}),
        ({"rungs": "3,6"}, {"rungs": (3, 6)}),
        ({"backbone_arg": ["depth=14"]}, {"backbone_arg": {"depth": 14}}),
        ({"trials": "7"}, {"trials": 7}),
        ({"compile": True}, {"compile": True}),
    ],
)
def test_what_is_typed_is_read_as_the_option_says(
    given: dict[str, Any], kept: dict[str, Any]
) -> None:
    config = make_config({"backbone": "resnet_cifar", **read_words(given)})
    assert {name: getattr(config, name) for name in kept} == kept


def test_a_file_may_be_json_and_takes_lists(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    file.write_text('{"rungs": [3, 6], "backbone_arg": {"width": 2}, "backbone": "b"}')
    config = load_config(file, {})
    assert (config.rungs, config.backbone_arg) == ((3, 6), {"width": 2})
    for text, says in (
        ("{", "is not JSON"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[1]", "must hold options by name"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_config(file, {})


def test_options_of_the_command_line_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "search.toml"
    file.write_text('trials = 7\nepochs = 3\nbackbone = "b"\n[backbone_arg]\ndepth = 14\n')
    config = load_config(file, {"epochs": 5})
    assert (config.trials, config.epochs, config.backbone) == (7, 5, "b")
    assert config.backbone_arg == {"depth": 14}


def test_the_first_search_has_settings_of_its_own_and_a_named_backbone_has_not() -> None:
    first = make_config({})
    assert first.backbone_arg == FIRST_SEARCH["backbone_arg"]
    assert first.replicates == FIRST_SEARCH["replicates"]
    assert make_config({"dataset": "digits"}) == first
    assert make_config({"backbone_arg": {"width": 3}}).backbone_arg == {"depth": 20, "width": 3}
    assert make_config({"epochs": 1}).epochs == 1
    named = make_config({"backbone": "resnet_cifar"})
    assert named.backbone_arg == {}
    assert named.replicates == SearchConfig.model_fields["replicates"].default


def test_an_evaluator_brings_its_own_defaults_and_what_is_given_wins() -> None:
    spiking = make_config({"evaluator": "spiking"})
    assert (spiking.optimizer, spiking.learning_rate) == ("adamw", 0.01)
    assert spiking.replicates == SearchConfig.model_fields["replicates"].default
    assert make_config({"evaluator": "spiking", "learning_rate": 0.5}).learning_rate == 0.5
    assert make_config(spiking.document()) == spiking
    assert make_config({"evaluator": "train"}) == make_config({})


def test_a_stored_configuration_comes_back_the_same_without_the_database() -> None:
    config = make_config({"study": "s", "storage": "postgresql://me:secret@host/db", "seed": 3})
    document = json.loads(json.dumps(config.document()))
    assert "secret" not in str(document)
    again = make_config({**document, "study": "s", "storage": config.storage})
    assert again == config


def test_an_image_folder_is_remembered_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config({"dataset": "folder:cats", "subset": 9, "resolution": 8, "channels": 1})
    assert config.dataset == f"folder:{tmp_path}/cats"
    assert make_config(config.document()) == config
    assert config.data_options == DataOptions(subset=9, resolution=8, channels=1)


def test_the_help_of_launch_names_what_the_tables_hold() -> None:
    tables: dict[str, Iterable[str]] = {
        "backbone": BACKBONES,
        "dataset": DATASETS,
        "methods": METHODS,
        "objectives": OBJECTIVES,
        "evaluator": EVALUATORS,
        "sampler": SAMPLERS,
    }
    for option, table in tables.items():
        assert all(name in OPTIONS[option].help for name in table), option


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dataset": "cats"}, "unknown data set 'cats': choose one of .*digits, .*folder:PATH"),
        ({"dataset": "folder:"}, "unknown data set 'folder:': choose one of .*folder:PATH"),
        ({"subset": 0}, "subset: input should be greater than or equal to 1, got 0"),
        ({"resolution": 1.5}, "resolution: .*integer.* got 1.5"),
        ({"channels": 2}, "channels: input should be 1 or 3, got 2"),
        ({"data_folder": ""}, "data_folder: .*at least 1 character"),
        (
            {"methods": ("magic",)},
            "unknown method 'magic': choose one of anchored, filter_basis, kernel",
        ),
        ({"objectives": ("accuracy", "beauty")}, "unknown objective 'beauty'"),
        (
            {"evaluator": "oracle"},
            "unknown evaluator 'oracle': choose one of inherit, spiking, train",
        ),
        (
            {"objectives": ("accuracy", "spikes")},
            "evaluator 'train' does not measure objective 'spikes': .* --evaluator spiking",
        ),
        ({"time_steps": 0}, "time_steps: input should be greater than or equal to 1, got 0"),
        ({"objectives": ("accuracy",)}, "two or more different --objectives, got accuracy"),
        ({"objectives": ("accuracy", "accuracy")}, "two or more different"),
        ({"trials": -5}, "trials: input should be greater than or equal to 1, got -5"),
        ({"epochs": 0}, "epochs"),
        ({"validation": 1.5}, "validation"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"trials": "many"}, "trials"),
        ({"label_smoothing": 1}, "label_smoothing: .*less than 1, got 1"),
        ({"augment": "twice"}, "augment: .*'auto', 'none' or 'standard', got 'twice'"),
        ({"precision": "half"}, "precision: .*'float32' or 'bfloat16', got 'half'"),
        ({"colour": 1}, "unknown option 'colour': choose one of augment, "),
        ({"max_parameters": 0}, "max_parameters"),
        ({"backbone_arg": {"depth=1": 2}}, "backbone_arg must look like depth: 20, got 'depth=1'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_config(options)


@pytest.mark.parametrize(
    ("text", "says"), [("trials = ", "is not TOML"), (None, "cannot read"), ("\xff", "is not TOML")]
)
def test_wrong_files_are_refused(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "search.toml"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=says):
        load_config(file, {})


def test_backbone_arguments_keep_their_type() -> None:
    texts = ["depth=20", "rate=0.5", "pretrained=false", "name=x=y", "sizes=[1]", "n="]
    assert dict(map(parse_argument, texts)) == {
        "depth": 20,
        "rate": 0.5,
        "pretrained": False,
        "name": "x=y",
        "sizes": "[1]",
        "n": "",
    }
    for text in ("depth", "=3", "a b=1"):
        with pytest.raises(ConfigError, match="must look like depth=20"):
            parse_argument(text)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_an_option_that_the_evaluator_does_not_use_is_refused_wherever_it_stands(
    evaluator: str, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"pretrain_epochs": 5, "time_steps": 7, "weights": "/w.pt"}
    values |= {"weight_map": "/names.json", "new_head": True, "pretrained": True}
    values |= {"label_smoothing": 0.1, "precision": "float32", "compile": True, "distill": True}
    row = EVALUATORS[evaluator]
    known = {name for one in EVALUATORS.values() for name in (*one.options, *one.unused)}
    assert known - {"distill_temperature", "distill_weight"} == {*values}
    for name, value in values.items():
        (tmp_path / "search.toml").write_text(f"{name} = {json.dumps(value)}")
        own = name in row.options
        used = own or not (
            name in row.unused or any(name in r.options for r in EVALUATORS.values())
        )
        for file, options in ((None, {name: value}), (tmp_path / "search.toml", {})):
            asked = {**options, "evaluator": evaluator}
            if used:
                assert getattr(load_config(file, asked), name) == value
                continue
            says = (
                f"evaluator '{evaluator}' does not use --{name.replace('_', '-')}, got {value!r}: "
            )
            with pytest.raises(ConfigError, match=says) as refused:
                load_config(file, asked)
            way_out = str(refused.value).split("--evaluator ")[1].split(" or ")[0]
            assert load_config(file, {**asked, "evaluator": way_out}).evaluator == way_out


@pytest.mark.parametrize("given", [{"weights": "w.pt"}, {"pretrained": True}])
def test_with_trained_weights_plans_inherit_them(given: dict[str, Any]) -> None:
    config = load_config(None, given)
    assert (config.evaluator, config.epochs) == ("inherit", 1)
    assert config.backbone_arg == {}, "not the network of the first search"
    with pytest.raises(ConfigError, match="evaluator 'train' does not use"):
        load_config(None, {**given, "evaluator": "train"})


def test_a_path_of_weights_holds_wherever_the_search_is_resumed() -> None:
    assert make_config({"weights": "w.pt"}).weights == str(Path("w.pt").absolute())


def test_how_to_distil_is_said_only_where_somebody_does() -> None:
    given = {"evaluator": "inherit", "distill_temperature": 2.0, "distill_weight": 0.5}
    assert load_config(None, {**given, "distill": True}).distill_temperature == 2
    with pytest.raises(ConfigError, match="--distill-temperature says how to distil: add"):
        load_config(None, given)


def test_weights_of_ones_own_take_the_place_of_a_training() -> None:
    both = {"evaluator": "inherit", "weights": "w.pt", "pretrain_epochs": 5}
    with pytest.raises(ConfigError, match="--weights takes the place of --pretrain-epochs"):
        load_config(None, both)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_what_a_study_has_stored_is_no_request(evaluator: str) -> None:
    config = load_config(None, {"evaluator": evaluator})
    assert make_config(config.document()).document() == config.document()
