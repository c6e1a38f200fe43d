"""What people type, on a command line or into a form, read as the values of options."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isoshare.search.options import OPTIONS
from isoshare.search.options.definition import ConfigError


def read_words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, with lists (``a,b``) and arguments (``["depth=20"]``) taken apart.

    All other values stay as they were typed: the model that they go to reads them.
    Raises ConfigError.
    """
    readers: dict[str, Callable[[Any], Any]] = {
        "list": split_list,
        "mapping": parse_arguments,
        "lists": parse_varied,
    }
    kinds = {name: OPTIONS[name].kind for name in given}
    return {name: readers.get(kinds[name], _unchanged)(value) for name, value in given.items()}


def split_list(text: str) -> tuple[str, ...]:
    """``a, b`` as its parts."""
    return tuple(part.strip() for part in text.split(","))


def parse_arguments(texts: Iterable[str]) -> dict[str, bool | int | float | str]:
    """Arguments of a backbone, each one as ``depth=20``. Raises ConfigError."""
    return dict(map(parse_argument, texts))


def parse_argument(text: str) -> tuple[str, bool | int | float | str]:
    """One ``--backbone-arg``: ``depth=20``, ``pretrained=false``, ``name=text``."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ConfigError(f"--backbone-arg must look like depth=20, got {text!r}")
    try:
        parsed = json.loads(value)
    except ValueError:
        return key, value
    return key, parsed if isinstance(parsed, bool | int | float) else value


def parse_varied(texts: Iterable[str]) -> dict[str, tuple[bool | int | float | str, ...]]:
    """Arguments with the values that they take, each one as ``width=8,12``. Raises ConfigError."""
    found: dict[str, tuple[bool | int | float | str, ...]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key.isidentifier() or not all(split_list(values)):
            raise ConfigError(f"--vary must look like width=8,12,16, got {text!r}")
        if key in found:
            raise ConfigError(f"--vary names {key} twice: give all its values at once")
        found[key] = tuple(parse_argument(f"{key}={value}")[1] for value in split_list(values))
    return found


def _unchanged(value: Any) -> Any:
    return value
