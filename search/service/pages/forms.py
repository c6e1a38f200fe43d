"""The form that launches a search: its fields, their help and defaults are the options' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.config import ConfigError, SearchConfig
from isoshare.search.defaults import fitting_defaults, is_first_search
from isoshare.search.options import OPTIONS, Option
from isoshare.search.options.definition import as_typed
from isoshare.search.options.words import read_words
from isoshare.search.service.errors import Problem
from isoshare.search.service.launching import CAN_LAUNCH, LaunchOptions, help_of
from isoshare.search.service.settings import Settings
from isoshare.space.errors import IsoshareError, first_problem
from isoshare.space.methods import METHODS

Kind = Literal["text", "number", "choice", "several", "flag"]
MAIN = (
    "study",
    "backbone",
    "backbone_arg",
    "dataset",
    "methods",
    "objectives",
    "trials",
    "epochs",
    "replicates",
    "workers",
)
"""Fields that are always shown; the others are behind "more options"."""
LABELS = {"backbone_arg": "Backbone arguments", "vary": "Arguments that vary"}
DEPENDS_ON = (
    "backbone",
    "backbone_arg",
    "vary",
    "dataset",
    "evaluator",
    "objectives",
    "table",
    "pretrained",
)
"""Fields that decide what the defaults of others are."""


@dataclass(frozen=True)
class FormField:
    """One field. least, most: of a number; step: its grain."""

    key: str
    label: str
    help: str
    kind: Kind
    choices: tuple[str, ...] = ()
    least: str = ""
    most: str = ""
    step: str = ""
    is_main: bool = False


def form_fields(settings: Settings) -> list[FormField]:
    """All fields, the main ones first."""
    from isoshare.search.samplers import SAMPLERS  # takes Optuna's time of import

    choices = {
        "backbone": settings.backbones,
        "dataset": settings.datasets,
        "evaluator": tuple(EVALUATORS),
        "sampler": tuple(SAMPLERS),
        "methods": tuple(METHODS),
        "objectives": tuple(OBJECTIVES),
    }
    keys = [*MAIN, *(key for key in CAN_LAUNCH if key not in MAIN)]
    return [_field(OPTIONS[key], choices.get(key, ())) for key in keys]


def form_defaults(values: Mapping[str, list[str]]) -> dict[str, str]:
    """What each field that is left empty stands for, beside these that are filled in."""
    shown = {key: OPTIONS[key].default for key in CAN_LAUNCH}
    try:
        given = _typed({key: values.get(key, []) for key in DEPENDS_ON})
        fitting = fitting_defaults(given)
    except IsoshareError:  # it is told when the form is sent
        return shown
    if not is_first_search(given):
        shown["backbone"] = as_typed(SearchConfig.model_fields["backbone"].default)
    found = {key: as_typed(value) for key, value in fitting.items() if key not in given}
    return shown | {key: text for key, text in found.items() if key in shown}


def filled_in(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Options as the form has them, but for the name of the study."""
    several = {"methods", "objectives"}
    return {
        key: [*map(str, value)] if key in several else [as_typed(value)]
        for key, value in options.items()
        if key in CAN_LAUNCH and key != "study" and value is not None
    }


def read_form(values: Mapping[str, list[str]]) -> dict[str, Any]:
    """The options that a filled-in form asks for; empty fields ask for nothing. Raises Problem."""
    try:
        options: BaseModel = LaunchOptions.model_validate(_typed(values))
    except ValidationError as error:
        raise Problem("invalid", first_problem(error)) from error
    except ConfigError as error:
        raise Problem("invalid", str(error)) from error
    return options.model_dump(exclude_none=True)


def _typed(values: Mapping[str, list[str]]) -> dict[str, Any]:
    """The fields that are filled in, as values of options. Raises ConfigError."""
    given: dict[str, Any] = {}
    for key in CAN_LAUNCH:
        filled = [text.strip() for text in values.get(key, ()) if text.strip()]
        if not filled:
            continue
        option = OPTIONS[key]
        if option.kind == "list":
            given[key] = ",".join(filled)
        elif option.kind == "lists":
            given[key] = filled[0].split()
        elif option.kind == "mapping":
            given[key] = filled[0].replace(",", " ").split()
        else:
            known = {str(choice): choice for choice in option.choices}
            given[key] = known.get(filled[0], filled[0])
    return read_words(given)


def _field(option: Option, choices: tuple[str, ...]) -> FormField:
    choices = tuple(map(str, option.choices)) or choices
    kind: Kind = "number" if option.kind == "number" else "text"
    if choices:
        kind = "several" if option.kind == "list" else "choice"
    elif option.kind == "flag":
        kind = "flag"
    return FormField(
        key=option.name,
        label=LABELS.get(option.name, option.name.replace("_", " ").capitalize()),
        help=help_of(option.name),
        kind=kind,
        choices=choices,
        least=as_typed(option.least),
        most=as_typed(option.most),
        step="1" if option.whole else "any",
        is_main=option.name in MAIN,
    )
