"""The exception tree. Every message states the rule, the value that broke it and the way out.

``IsoshareError`` is what a caller may catch: the request was wrong, nothing was changed.
The command line prints it as one sentence and exits with 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class IsoshareError(Exception):
    """A request that cannot be carried out as it stands."""


class PlanError(IsoshareError):
    """A sharing plan that is malformed, or that does not fit the network it is meant for."""


class BackboneError(IsoshareError):
    """A backbone that is unknown, cannot be built with these arguments, or cannot be shared."""


class WeightsError(IsoshareError):
    """A file of weights that cannot be read, or is not for this network."""


def failure_in_words(error: Exception) -> str:
    """Why a plan has failed: a sentence of ours as it is, anything else with its type."""
    return str(error) if isinstance(error, IsoshareError) else f"{type(error).__name__}: {error}"


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def in_one_line(error: BaseException, most: int = 300) -> str:
    """What an error of others says in one line, without colours; its beginning, if it is long."""
    return " ".join(COLOUR.sub("", str(error)).split())[:most]


def typed_in_one_line(error: BaseException, most: int = 200) -> str:
    """The same behind the type of the error."""
    return f"{type(error).__name__}: {in_one_line(error, most)}"


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def one_of(kind: str, value: object, allowed: object) -> str:
    """The sentence for a name that is in no table, with what the table has.

    >>> one_of("sampler", "foo", ["random", "tpe"])
    "unknown sampler 'foo': choose one of random, tpe"
    """
    names = ", ".join(sorted(str(name) for name in allowed))  # type: ignore[attr-defined]
    return f"unknown {kind} {short(value)}: choose one of {names}"


def short(value: object) -> str:
    """A value as it stands in a message: its beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def first_problem(error: ValidationError) -> str:
    """The first complaint of pydantic as a sentence with field, rule and value."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part)[:40] for part in problem["loc"]) or "the document"
    value = "" if problem["type"] == "missing" else f", got {short(problem['input'])}"
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}{value}"
