"""Defaults that depend on other options: on the table, evaluator, objectives or backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from isoshare.evaluators import EVALUATORS, evaluator_row, is_own_dataset, is_own_evaluator
from isoshare.evaluators.objectives import OBJECTIVES, is_exact, objective_name
from isoshare.evaluators.sharebench import Table
from isoshare.search.options.definition import ConfigError

FIRST_SEARCH: dict[str, Any] = {
    "backbone_arg": {"depth": 20, "width": 2},
    "epochs": 6,
    "replicates": 16,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 0.02,
    "validation": 0.5,
    "methods": ("kernel", "anchored", "filter_basis", "slice_generator"),
}
"""The settings of a search on digits for which no backbone is named: a first search of minutes. The
network is so small that sharing costs it accuracy, and so many seeds of it are trained that plans
can be told apart; a wider network would learn digits however much it shares, and its front would
be a picture of luck (docs/benchmarks.md)."""


def fitting_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """What is given, and the defaults that depend on it: on table, evaluator, objectives, backbone.

    Raises ConfigError if a table that is named cannot be read, or was made with other options.
    """
    if given.get("table") is not None:
        return with_table(given)
    if "sampler" not in given and not trades_exact(given.get("objectives", ())):
        given = {"sampler": "tpe", **given}
    if (name := str(evaluator_of(given))) != "train":
        given = {"evaluator": name, **given}
        known = name in EVALUATORS or is_own_evaluator(name)
        asked = {"solve_first": True} if name == "inherit" and foresees(given) else {}
        return {**(evaluator_row(name).defaults if known else {}), **asked, **given}
    if not is_first_search(given):
        return given
    arguments, varied = given.get("backbone_arg", {}), given.get("vary") or {}
    if isinstance(arguments, dict):
        usual = FIRST_SEARCH["backbone_arg"].items()
        arguments = {**{key: one for key, one in usual if key not in varied}, **arguments}
    return {**FIRST_SEARCH, **given, "backbone_arg": arguments}


def evaluator_of(given: Mapping[str, Any]) -> Any:
    """The evaluator that is given, or the default: trained weights are there to be inherited."""
    has_weights = given.get("weights") is not None or given.get("pretrained")
    return given.get("evaluator", "inherit" if has_weights else "train")


def foresees(given: Mapping[str, Any]) -> bool:
    """Whether one trained network is there that can be asked about plans before a search."""
    has_weights = given.get("weights") is not None or given.get("pretrained")
    own = is_own_dataset(str(given.get("dataset", "")))
    return bool(has_weights) and not (given.get("new_head") or given.get("vary") or own)


def is_first_search(given: Mapping[str, Any]) -> bool:
    """Whether these options ask for no network in particular, so that FIRST_SEARCH holds."""
    trained = evaluator_of(given) == "train" and given.get("table") is None
    return trained and "backbone" not in given and given.get("dataset", "digits") == "digits"


def trades_exact(objectives: Any) -> bool:
    """Whether one measured objective is traded against one or two that are exact, as the default
    sampler needs it; so are the default objectives.
    """
    if not objectives or any(name not in OBJECTIVES and ":" not in name for name in objectives):
        return True
    return len(objectives) in (2, 3) and sum(map(is_exact, objectives)) == len(objectives) - 1


def unserved(objectives: Sequence[str]) -> str:
    """Why the default sampler does not serve objectives, in words; empty where it does."""
    if trades_exact(objectives):
        return ""
    return (
        "sampler ehvi trades one measured objective against one or two that are exact, got "
        f"{', '.join(map(objective_name, objectives))}"
    )


def with_table(data: dict[str, Any]) -> dict[str, Any]:
    """The options of a search that a table answers: those that made the table, which cannot be
    others, and what is given.
    """
    made = Table.conditions_of(data["table"])["config"]
    if data.get("vary") and "vary" not in made:
        raise ConfigError(
            f"table {data['table']!r} was made without --vary, and answers for one backbone: leave "
            "--vary out, or train instead"
        )
    for name, value in made.items():
        if name in data and json.loads(json.dumps(data[name])) != value:
            raise ConfigError(
                f"table {data['table']!r} was made with {name} {value}, got {data[name]}: leave "
                f"--{name.replace('_', '-')} out, or train instead"
            )
    return {"driver": "simulate", "replicates": 1, **data, **made}
