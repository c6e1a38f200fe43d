"""The form that launches a search: which fields it shows, what they stand for when left empty, and
which of them a complaint is about. What people read in it stands in ``wording``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.checks import idle
from isoshare.search.config import ConfigError, SearchConfig
from isoshare.search.defaults import evaluator_of, fitting_defaults, is_first_search
from isoshare.search.options import OPTIONS, Option
from isoshare.search.options.definition import as_typed
from isoshare.search.options.words import read_words
from isoshare.search.service.errors import Detail, Problem
from isoshare.search.service.pages.wording import (
    HEADINGS,
    help_text,
    in_words,
    label,
    without_flags,
)
from isoshare.search.service.runs.launching import CAN_LAUNCH, TABLES_HERE, LaunchOptions, about
from isoshare.search.service.settings import Settings
from isoshare.search.study_names import free_name
from isoshare.space.errors import IsoshareError, first_problem
from isoshare.space.methods import METHODS

Kind = Literal["text", "number", "choice", "several", "flag"]
MAIN = (
    *("study", "backbone", "backbone_arg", "dataset", "evaluator", "methods", "objectives"),
    *("trials", "epochs", "replicates", "workers", "timeout"),
)
"""Fields that are always open; the others are folded under their headings."""
LEFT_OUT = ("driver",)
"""Options that follow from another field: who names a table trains nothing."""
FIELDS = (*MAIN, *(key for key in CAN_LAUNCH if key not in (*MAIN, *LEFT_OUT)))


@dataclass(frozen=True)
class FormField:
    """One field. heading: that it is folded under; empty for a main one. least, most: of a number;
    step: its grain. choices: values, each with its words.
    """

    key: str
    label: str
    help: str
    kind: Kind
    heading: str
    choices: tuple[tuple[str, str], ...] = ()
    least: str = ""
    most: str = ""
    step: str = ""


def form_fields(settings: Settings) -> list[FormField]:
    """All fields, the main ones first, then heading by heading."""
    from isoshare.search.samplers import SAMPLERS  # takes Optuna's time of import

    choices: dict[str, Collection[str]] = {
        "backbone": settings.backbones,
        "dataset": settings.datasets,
        "evaluator": EVALUATORS,
        "sampler": SAMPLERS,
        "methods": METHODS,
        "objectives": OBJECTIVES,
        "table": TABLES_HERE,
    }
    return [_field(OPTIONS[key], choices.get(key, ())) for key in FIELDS]


def idle_fields(values: Mapping[str, list[str]]) -> list[str]:
    """Fields that have no effect beside what is filled in, so that they are not shown."""
    given = _readable(values)
    evaluator, dataset = str(evaluator_of(given)), str(given.get("dataset", "digits"))
    known = evaluator if evaluator in EVALUATORS else "train"
    return [key for key in FIELDS if idle(key, given, known, dataset)]


def form_defaults(values: Mapping[str, list[str]], taken: Collection[str] = ()) -> dict[str, str]:
    """What each field that is left empty stands for, beside these that are filled in.

    taken: names of the searches that there are.
    """
    shown = {key: OPTIONS[key].default for key in FIELDS}
    given = _readable(values)
    try:
        fitting = fitting_defaults(given)
    except IsoshareError:  # it is told when the form is sent
        return shown
    usual = SearchConfig.model_fields["backbone"].default
    if not is_first_search(given):
        shown["backbone"] = as_typed(usual)
    names = fitting.get("dataset", OPTIONS["dataset"].default), fitting.get("backbone", usual)
    shown |= {"study": free_name(set(taken), *names), "workers": str(os.cpu_count() or 1)}
    found = {key: as_typed(value) for key, value in fitting.items() if key not in given}
    return shown | {key: text for key, text in found.items() if key in shown}


def shown_defaults(values: Mapping[str, list[str]], taken: Collection[str]) -> dict[str, str]:
    """The same in words."""
    return {key: in_words(key, text) for key, text in form_defaults(values, taken).items()}


def filled_in(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Options as the form has them, but for the name of the study."""
    several = {"methods", "objectives"}
    return {
        key: [*map(str, value)] if key in several else [as_typed(value)]
        for key, value in options.items()
        if key in FIELDS and key != "study" and value not in (None, False)
    }


def read_form(values: Mapping[str, list[str]]) -> dict[str, Any]:
    """The options that a filled-in form asks for; empty fields ask for nothing. Raises Problem."""
    try:
        options: BaseModel = LaunchOptions.model_validate(_typed(values))
    except ValidationError as error:
        raise Problem("invalid", first_problem(error), [*_details(error)]) from error
    except ConfigError as error:
        raise about("invalid", str(error)) from error
    return options.model_dump(exclude_none=True)


def complaints(problem: Problem) -> dict[str, str]:
    """What is wrong with which field of the form, in its words."""
    return {
        detail.field: without_flags(detail.message)
        for detail in problem.answer.error.details
        if detail.field in FIELDS
    }


def _details(error: ValidationError) -> Iterator[Detail]:
    for problem in error.errors(include_url=False):
        name, got = str(problem["loc"][0]), str(problem["input"])[:40]
        rule = f"{problem['msg'][0].lower()}{problem['msg'][1:]}, got {got}"
        if problem["type"] == "string_pattern_mismatch":  # no pattern is a word of people's
            text = help_text(OPTIONS[name])
            rule = f"{got} cannot be read: {text[0].lower()}{text[1:]}"
        yield Detail(field=name, message=rule)


def _readable(values: Mapping[str, list[str]]) -> dict[str, Any]:
    """What is filled in, as far as it can be read: the rest is told when the form is sent."""
    given: dict[str, Any] = {}
    for key in FIELDS:
        try:
            given |= _typed({key: values.get(key, [])})
        except ConfigError:
            continue
    return given


def _typed(values: Mapping[str, list[str]]) -> dict[str, Any]:
    """The fields that are filled in, as values of options. Raises ConfigError."""
    given: dict[str, Any] = {}
    for key in FIELDS:
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


def _field(option: Option, choices: Collection[str]) -> FormField:
    choices = tuple(map(str, option.choices)) or choices
    kind: Kind = "number" if option.kind == "number" else "text"
    if choices:
        kind = "several" if option.kind == "list" else "choice"
    elif option.kind == "flag":
        kind = "flag"
    return FormField(
        key=option.name,
        label=label(option),
        help=help_text(option),
        kind=kind,
        heading="" if option.name in MAIN else HEADINGS.get(option.group, option.group),
        choices=tuple((value, in_words(option.name, value)) for value in choices),
        least=as_typed(option.least),
        most=as_typed(option.most),
        step="1" if option.whole else "any",
    )
