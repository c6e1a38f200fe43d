"""What holds between evaluator, data set, objectives and the options that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from isoshare.evaluators import (
    EVALUATORS,
    NOT_FOR_OWN_DATA,
    USUAL,
    evaluator_row,
    is_own_dataset,
    users,
    uses,
)
from isoshare.evaluators.objectives import objective_name, objective_row
from isoshare.search.options.definition import ConfigError

HOW_TO_DISTIL = ("distill_temperature", "distill_weight")


class Asked(Protocol):
    """The options that are looked at."""

    evaluator: str
    dataset: str
    objectives: tuple[str, ...]
    loss: str | None
    metric: str | None


def check_measured(asked: Asked) -> None:
    """Raise ConfigError for an objective that nothing measures."""
    own = is_own_dataset(asked.dataset)
    usual = () if asked.metric else USUAL
    measures = usual if own else evaluator_row(asked.evaluator).measures
    for objective in asked.objectives:
        row, name = objective_row(objective), objective_name(objective)
        known = row.exact is not None or row.of_an_image
        if known or not measures or (name if own else objective) in measures:
            continue
        if own:
            raise ConfigError(
                f"objective {name!r} is measured by a metric of your own: add "
                "--metric package.module:function"
            )
        able = [evaluator for evaluator, row in EVALUATORS.items() if name in row.measures]
        way_out = f", or take --evaluator {' or '.join(able)}" if able else ""
        raise ConfigError(
            f"evaluator {asked.evaluator!r} does not measure objective {name!r}: leave it out"
            f"{way_out}"
        )


def check_data(asked: Asked) -> None:
    """Raise ConfigError for a loss or metric without data of the user's own, on which not all
    evaluators train."""
    own = is_own_dataset(asked.dataset)
    for flag, value in (("loss", asked.loss), ("metric", asked.metric)):
        if value is not None and not own:
            raise ConfigError(
                f"--{flag} is for a data set of your own, --dataset package.module:function, "
                f"got --{flag} {value} and --dataset {asked.dataset}"
            )
        if value is not None and ":" not in value:
            raise ConfigError(f"--{flag} is named package.module:function, got {value!r}")
    able = [name for name, row in EVALUATORS.items() if row.any_data]
    if own and asked.evaluator not in able:
        raise ConfigError(
            f"evaluator {asked.evaluator!r} does not train on a data set of your own, "
            f"{asked.dataset!r}: take --evaluator {' or '.join(able)}"
        )


def check_distilled(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for what says how to distil where nobody does."""
    for name in HOW_TO_DISTIL:
        if name in given and (why := _teaches_nobody(name, given)):
            raise ConfigError(why)


def idle(name: str, given: Mapping[str, Any], evaluator: str, dataset: str) -> str:
    """Why an option has no effect beside those that are given, in a sentence; empty if it has one.

    The command line refuses such an option, the form does not show it.
    """
    flag = f"--{name.replace('_', '-')}"
    if not uses(evaluator, name):
        return (
            f"evaluator {evaluator!r} does not use {flag}, got {given.get(name)!r}: leave it out, "
            f"or take --evaluator {' or '.join(users(name))}"
        )
    if why := _teaches_nobody(name, given) or _foresees_nothing(name, given, evaluator):
        return why
    if name in NOT_FOR_OWN_DATA and is_own_dataset(dataset):
        return f"a data set of your own does not use {flag}, got {given.get(name)!r}: leave it out"
    for taken, replaced in evaluator_row(evaluator).instead.items():
        trained = given.get("new_head") or given.get("vary")  # a head, or what has no weights
        if name == replaced and given.get(taken) and not trained:
            return (
                f"--{taken.replace('_', '-')} takes the place of {flag}, got both: leave one of "
                "them out"
            )
    return ""


def _teaches_nobody(name: str, given: Mapping[str, Any]) -> str:
    """What is wrong with an option that says how to distil where nothing is distilled."""
    if name not in HOW_TO_DISTIL or given.get("distill"):
        return ""
    return f"--{name.replace('_', '-')} says how to distil: add --distill"


def _foresees_nothing(name: str, given: Mapping[str, Any], evaluator: str) -> str:
    """What is wrong with scoring a trained network where there is none."""
    if name != "solve_first":
        return ""
    if given.get("vary"):
        return (
            "--solve-first scores one network, and --vary searches several: leave one of them out"
        )
    if evaluator == "inherit" and not given.get("table"):
        return ""
    return (
        "--solve-first scores the trained network that plans inherit from: add --evaluator inherit "
        "or --weights FILE, and train; or leave it out"
    )


def check_used(given: Mapping[str, Any], evaluator: str, dataset: str) -> None:
    """What a user has asked for must not be ignored silently. Raises ConfigError."""
    for name in given:
        if why := idle(name, given, evaluator, dataset):
            raise ConfigError(why)
