"""What a client may ask of a new search: its options, less those that name paths and addresses of
the server. Their types, bounds and help are those of ``search/options``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import copy
from itertools import chain
from typing import Any, Optional

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from isoshare.evaluators import EVALUATORS, is_own_evaluator, uses
from isoshare.evaluators.sharebench import TABLES
from isoshare.search.config import SearchConfig, requested
from isoshare.search.options import OPTIONS, RESUME_OPTIONS, Option
from isoshare.search.options.resuming import ResumeConfig
from isoshare.search.service.errors import Code, Detail, Problem
from isoshare.search.service.runs.driver_files import option_of
from isoshare.search.service.settings import Settings
from isoshare.search.study_names import check_name, free_name
from isoshare.space.errors import IsoshareError, one_of

THE_SERVERS = (
    "storage",
    "out",
    "weights",
    "weight_map",
    "data_folder",
    "ray_address",
    "loss",
    "metric",
)
"""Options that no client may set: they name files, folders, machines and code."""
CAN_LAUNCH = tuple(key for key in OPTIONS if key not in THE_SERVERS)
TABLES_HERE = tuple(TABLES)
"""Tables that clients may name: any other name is a file of the server."""
ALLOWED_ONLY = "One of those that this server allows."


def help_of(key: str) -> str:
    """What an option of a launch is for."""
    return ALLOWED_ONLY if key in ("backbone", "dataset") else OPTIONS[key].help


def _optional(
    model: type[BaseModel], options: Mapping[str, Option], keys: Iterable[str]
) -> dict[str, Any]:
    """Fields of a model as what may be asked for: None stands for "not given"."""
    made: dict[str, tuple[Any, FieldInfo]] = {}
    for key in keys:
        known = model.model_fields[key]
        field, default = copy(known), options[key].default
        field.default, field.default_factory, field.json_schema_extra = None, None, None
        said = options[key].help if model is ResumeConfig else help_of(key)
        field.description = f"{said} Default: {default}." if default else said
        made[key] = (Optional[known.annotation], field)  # noqa: UP045  a value here
    return made


def _model(name: str, doc: str, example: dict[str, Any], fields: dict[str, Any]) -> type[BaseModel]:
    rules = ConfigDict(extra="forbid", json_schema_extra={"example": example})
    return create_model(name, __doc__=doc, __config__=rules, **fields)


LaunchOptions = _model(
    "LaunchOptions",
    "The options of a new search; those left out have the defaults of the command line.",
    {"dataset": "digits", "trials": 20, "epochs": 6, "methods": ["kernel"]},
    _optional(SearchConfig, OPTIONS, CAN_LAUNCH),
)
ResumeOptions = _model(
    "ResumeOptions",
    "What may change when a search continues.",
    {"trials": 80},
    _optional(ResumeConfig, RESUME_OPTIONS, ["trials"])
    | _optional(SearchConfig, OPTIONS, ["workers"]),
)


def about(code: Code, message: str, field: str | None = None) -> Problem:
    """A refusal that names the option which it is about: ``field``, or the one in its sentence."""
    named = field or option_of(message)
    return Problem(code, message, [Detail(field=named, message=message)] if named else None)


def checked(settings: Settings, asked: Mapping[str, Any], taken: Collection[str]) -> SearchConfig:
    """The search that is asked for, with a name. Raises Problem."""
    from isoshare.search.samplers import sampler_row  # takes Optuna's time of import

    given = {key: value for key, value in asked.items() if value is not None}
    if given.get("table", TABLES_HERE[0]) not in TABLES_HERE:
        raise about("not_allowed", one_of("table", given["table"], TABLES_HERE), "table")
    check_bounds(settings, given)
    try:
        config = requested(given)
        sampler_row(config.sampler)
    except IsoshareError as error:
        raise about("invalid", str(error)) from error
    check_arguments_bound(settings, [*config.backbone_arg.values(), *chain(*config.vary.values())])
    try:
        check_name(given.get("study", "unnamed"))
    except IsoshareError as error:
        raise about("invalid", str(error), "study") from error
    if is_own_evaluator(config.evaluator):
        wrong = one_of("evaluator", config.evaluator, EVALUATORS)
        raise about("not_allowed", wrong, "evaluator")
    check_allowed(settings, config.backbone, config.dataset)
    if config.study in taken:
        raise about("conflict", f"study {config.study!r} exists already: choose another name")
    name = config.study or free_name(set(taken), config.dataset, config.backbone)
    return config.model_copy(update={"study": name})


def as_asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a client would have to ask for to get a search with these options: those that are not
    the defaults of the command line.
    """
    evaluator = options.get("evaluator", "train")
    plain = {key: field.default for key, field in SearchConfig.model_fields.items()}
    return {
        key: value
        for key, value in options.items()
        if key in CAN_LAUNCH
        and uses(evaluator, key)
        and value not in (None, [], {})
        and (key == "backbone" or value != plain[key])
    }


def check_bounds(settings: Settings, given: Mapping[str, Any]) -> None:
    """Raise Problem for more of something than the operator of this server lets clients ask for."""
    for name, most in settings.most.items():
        _check_bound(name, given.get(name), most)


def check_arguments_bound(settings: Settings, values: Iterable[object]) -> None:
    """Raise Problem for an argument of a backbone that would build layers for minutes."""
    for value in values:
        _check_bound("backbone_arg", value, settings.most["backbone_arg"])


def _check_bound(name: str, value: object, most: float) -> None:
    if isinstance(value, int | float) and value > most:
        raise about(
            "not_allowed", f"{name} may be at most {most} on this server, got {value}: ask for less"
        )


def check_allowed(settings: Settings, backbone: str, dataset: str) -> None:
    """Raise Problem unless backbone and data set are on the server's list."""
    for kind, field, name, allowed in (
        ("backbone", "backbone", backbone, settings.backbones),
        ("data set", "dataset", dataset, settings.datasets),
    ):
        if name not in allowed:
            raise about(
                "not_allowed",
                f"{kind} {name!r} is not on the list of this server: choose one of "
                f"{', '.join(allowed)}",
                field,
            )
