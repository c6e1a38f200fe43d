"""How an option is defined, once, and what its definition says to those who show or read it.

The command line, the form and the REST description are made from ``Option``; TOML and JSON files
are checked by the models themselves. Read without torch, numpy or a database, so that help answers
at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from isoshare.space.errors import IsoshareError


class ConfigError(IsoshareError):
    """An option that is unknown, missing or out of range."""


Kind = Literal["text", "number", "choice", "list", "mapping", "lists", "flag"]

FROZEN = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)
"""The rules of every model of options."""


LARGEST = 2**63 - 1
"""What databases and JSON readers hold in a number."""


def option(
    default: Any = None,
    help: str = "",
    *,
    metavar: str | None = None,
    shown: str | None = None,
    make: Callable[[], Any] | None = None,
    **bounds: Any,
) -> Any:
    """The definition of one option: a pydantic field.

    metavar: what stands for its value in the help of the command line. shown: the default in words,
        where its value does not say it. make: makes the default when it is needed, in place of
        ``default``. bounds: those of ``pydantic.Field``, such as ``ge=1``.
    """
    value = {"default": default} if make is None else {"default_factory": make}
    extra: dict[str, Any] = {"metavar": metavar, "shown": shown}
    return Field(**value, description=help, json_schema_extra=extra, **bounds)


@dataclass(frozen=True)
class Option:
    """One option as its definition has it.

    help: one or two sentences. default: in words, empty if nothing is done without the option.
    group: the heading that it stands under. choices: all values, where they are few.
    least, most: bounds of a number, None if it has none. whole: whether it counts something.
    """

    name: str
    kind: Kind
    help: str
    default: str
    group: str
    metavar: str | None
    choices: tuple[Any, ...]
    least: float | None
    most: float | None
    whole: bool

    @property
    def flag(self) -> str:
        """What is typed on the command line."""
        return f"--{self.name.replace('_', '-')}"


def read_options(model: type[BaseModel]) -> dict[str, Option]:
    """All options that a model defines, in their order; its ``GROUP`` is their heading."""
    group = getattr(model, "GROUP", "Options")
    return {name: _read(name, group, field) for name, field in model.model_fields.items()}


def as_typed(value: Any) -> str:
    """A value as it is typed: ``3,6``, ``depth=20 width=2``, ``true``; empty for None."""
    if isinstance(value, dict):
        return " ".join(f"{key}={as_typed(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value).lower() if value in (True, False) else str(value)


def _read(name: str, group: str, field: FieldInfo) -> Option:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), f"{name} is not defined by option()"
    annotation = next(iter({*get_args(field.annotation)} - {NoneType}), field.annotation)
    if NoneType not in get_args(field.annotation):
        annotation = field.annotation
    shown, metavar = extra["shown"], extra["metavar"]
    return Option(
        name=name,
        kind=_kind(annotation),
        help=field.description or "",
        default=as_typed(field.default) if shown is None else str(shown),
        group=group,
        metavar=None if metavar is None else str(metavar),
        choices=get_args(annotation) if get_origin(annotation) is Literal else (),
        least=_bound(field, "ge", "gt"),
        most=_bound(field, "le", "lt"),
        whole=annotation is int,
    )


def _kind(annotation: Any) -> Kind:
    kinds: dict[Any, Kind] = {Literal: "choice", tuple: "list", dict: "mapping"}
    if get_origin(annotation) is dict and get_origin(get_args(annotation)[1]) is tuple:
        return "lists"
    plain: dict[Any, Kind] = {bool: "flag", int: "number", float: "number"}
    return kinds.get(get_origin(annotation)) or plain.get(annotation, "text")


def _bound(field: FieldInfo, *names: str) -> float | None:
    found = (getattr(rule, name, None) for rule in field.metadata for name in names)
    return next((bound for bound in found if bound is not None), None)
