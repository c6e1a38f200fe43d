"""The form that launches a search: its fields, their help and defaults are the options' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.config import SearchConfig, parse_argument
from isoshare.search.service.errors import Problem
from isoshare.search.service.launching import CAN_LAUNCH, LaunchOptions, default_of, help_of
from isoshare.search.service.settings import Settings
from isoshare.space.methods import METHODS
from isoshare.space.plan import first_problem

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
LISTS = ("methods", "objectives")
WORDS_OF_TABLES = {"methods": tuple(METHODS), "objectives": tuple(OBJECTIVES)}


@dataclass(frozen=True)
class FormField:
    """One field. default: what an empty field means. least, most: of a number; step: its grain."""

    key: str
    label: str
    help: str
    kind: Kind
    default: str
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
        **WORDS_OF_TABLES,
    }
    keys = [*MAIN, *(key for key in CAN_LAUNCH if key not in MAIN)]
    return [_field(key, choices.get(key, ())) for key in keys]


def read_form(values: Mapping[str, list[str]]) -> dict[str, Any]:
    """The options that a filled-in form asks for; empty fields ask for nothing. Raises Problem."""
    given: dict[str, Any] = {}
    for key in CAN_LAUNCH:
        filled = [text.strip() for text in values.get(key, ()) if text.strip()]
        if not filled:
            continue
        if key in LISTS:
            given[key] = filled
        elif key == "backbone_arg":
            given[key] = dict(map(parse_argument, filled[0].replace(",", " ").split()))
        else:
            given[key] = int(filled[0]) if key == "channels" else filled[0]
    try:
        options: BaseModel = LaunchOptions.model_validate(given)
    except ValidationError as error:
        raise Problem("invalid", first_problem(error)) from error
    return options.model_dump(exclude_none=True)


def _field(key: str, choices: tuple[str, ...]) -> FormField:
    known = SearchConfig.model_fields[key]
    kinds = {type(None)} ^ {*(get_args(known.annotation) or (known.annotation,))}
    literal = next((kind for kind in (known.annotation, *kinds) if get_origin(kind) is Literal), 0)
    if literal:
        choices = tuple(map(str, get_args(literal)))
    kind: Kind = "text"
    if key in LISTS:
        kind = "several"
    elif choices:
        kind = "choice"
    elif bool in kinds and key != "backbone_arg":
        kind = "flag"
    elif kinds & {int, float} and key != "backbone_arg":
        kind = "number"
    bounds = {name: getattr(rule, name) for rule in known.metadata for name in _bounds(rule)}
    return FormField(
        key=key,
        label="Backbone arguments" if key == "backbone_arg" else _words(key),
        help=help_of(key),
        kind=kind,
        default=default_of(key),
        choices=choices,
        least=str(bounds.get("ge", bounds.get("gt", ""))),
        most=str(bounds.get("le", bounds.get("lt", ""))),
        step="any" if float in kinds else "1",
        is_main=key in MAIN,
    )


def _bounds(rule: object) -> list[str]:
    return [name for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)]


def _words(key: str) -> str:
    """``max_parameters`` as ``Max parameters``."""
    return key.replace("_", " ").capitalize()
