"""Rows that a command has finished, one line of JSON each, from which a second call goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def kept(path: Path) -> list[Row]:
    """The rows that are there; a last line that was cut off is left out."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def keep(path: Path, row: Row) -> None:
    """Add a row, so that it is there whatever happens next."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
