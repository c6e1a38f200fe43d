"""What a client may ask of a new search: the options of the command line, less those that name
paths and addresses of the server. Their help is that of the command line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from typing import Any, Optional, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from isoshare.search.cli import options
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.service.errors import Problem
from isoshare.search.service.settings import Settings
from isoshare.search.study_names import check_name, free_name
from isoshare.space.errors import IsoshareError

THE_SERVERS = ("storage", "out", "weights", "data_folder", "ray_address")
"""Options that no client may set: they name files, folders and machines."""
CAN_LAUNCH = tuple(key for key in SearchConfig.model_fields if key not in THE_SERVERS)
ALLOWED_ONLY = "One of those that this server allows."


def help_of(key: str) -> str:
    """What the help of the command line says about an option."""
    return ALLOWED_ONLY if key in ("backbone", "dataset") else str(_option(key).help)


def default_of(key: str) -> str:
    """What the command line does without the option, in words; empty if that goes without them."""
    shown = _option(key).show_default
    return shown if isinstance(shown, str) else ""


def _option(key: str) -> Any:
    """The option of the command line (typer's) that sets ``key``."""
    special = {"study": options.StudyName, "backbone_arg": options.Arguments}
    name = "".join(word.capitalize() for word in key.split("_"))
    return get_args(special.get(key) or getattr(options, name))[1]


def _field(key: str) -> tuple[Any, FieldInfo]:
    """The field of SearchConfig as an option: None stands for "not given"."""
    known = SearchConfig.model_fields[key]
    field = copy(known)
    field.default, field.default_factory = None, None
    field.description = help_of(key)
    annotation = known.annotation
    return Optional[annotation], field  # noqa: UP045  the annotation is a value here


def _fields() -> dict[str, Any]:
    return {key: _field(key) for key in CAN_LAUNCH}


LaunchOptions: type[BaseModel] = create_model(
    "LaunchOptions",
    __doc__="The options of a new search; those left out have the defaults of the command line.",
    __config__=ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"dataset": "digits", "trials": 20, "epochs": 6, "methods": ["kernel"]}
        },
    ),
    **_fields(),
)


class ResumeOptions(BaseModel):
    """What may change when a search goes on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"trials": 80}})

    trials: int | None = Field(
        None, ge=1, le=2**31, description="A new budget, at least what there is."
    )
    workers: int | None = Field(None, ge=1, le=1024, description=help_of("workers"))


def checked(settings: Settings, asked: Mapping[str, Any], taken: Collection[str]) -> SearchConfig:
    """The search that is asked for, with a name. Raises Problem."""
    from isoshare.search.samplers import sampler_row  # takes Optuna's time of import

    given = {key: value for key, value in asked.items() if value is not None}
    _check_arguments(given.get("backbone_arg", {}))
    try:
        config = make_config(given)
        check_name(given.get("study", "unnamed"))
        sampler_row(config.sampler)
    except IsoshareError as error:
        raise Problem("invalid", str(error)) from error
    check_allowed(settings, config.backbone, config.dataset)
    if config.study in taken:
        raise Problem("conflict", f"study {config.study!r} exists already: choose another name")
    name = config.study or free_name(set(taken), config)
    return config.model_copy(update={"study": name})


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what a command line cannot hold, or would read as something else."""
    for key, value in arguments.items():
        if not key.isidentifier() or not str(value).isprintable():
            raise Problem(
                "invalid", f"backbone_arg must look like depth: 20, got {key!r}: {value!r}"
            )


def check_allowed(settings: Settings, backbone: str, dataset: str) -> None:
    """Raise Problem unless backbone and data set are on the server's list."""
    for kind, name, allowed in (
        ("backbone", backbone, settings.backbones),
        ("data set", dataset, settings.datasets),
    ):
        if name not in allowed:
            raise Problem(
                "not_allowed",
                f"{kind} {name!r} is not on the list of this server: choose one of "
                f"{', '.join(allowed)}",
            )


def command_line(asked: Mapping[str, Any]) -> list[str]:
    """Options as arguments of the program; each value is bound to its option by ``=``."""
    arguments: list[str] = []
    for key, value in asked.items():
        flag = f"--{key.replace('_', '-')}"
        if value is None or value is False:
            continue
        if value is True:
            arguments.append(flag)
        elif isinstance(value, Mapping):
            arguments += [f"{flag}={name}={_text(item)}" for name, item in value.items()]
        elif isinstance(value, list | tuple):
            arguments.append(f"{flag}={','.join(value)}")
        else:
            arguments.append(f"{flag}={value}")
    return arguments


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
