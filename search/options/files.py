"""Options that stand in a file, in TOML or JSON."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from isoshare.search.options.definition import ConfigError
from isoshare.space.strict_json import read_json


def read_options_file(file: Path) -> dict[str, Any]:
    """The options in a file: JSON if it is called so, TOML otherwise."""
    kind, parse = ("JSON", read_json) if file.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        found = parse(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # both parsers', and text that is not UTF-8
        raise ConfigError(f"{file} is not {kind}: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} must hold options by name, got {found!r}")
    return found
