"""How far banks move the outputs of their sites, kept in a file while a network is scored."""

from __future__ import annotations

import json
from collections import UserDict
from contextlib import suppress
from pathlib import Path


class KeptMoves(UserDict[str, dict[str, float]]):
    """A mapping that adds what it is given to a file, a line each, and starts with what is there.

    path: without one, or where it cannot be written, nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self._path = None
        if path is not None:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = path.read_bytes().splitlines() if path.exists() else []
                for line in lines:
                    with suppress(ValueError):  # the last one was cut off
                        self.data |= json.loads(line)
        self._path = path

    def __setitem__(self, bank: str, moves: dict[str, float]) -> None:
        self.data[bank] = moves
        if self._path is not None:
            with suppress(OSError), self._path.open("a") as file:
                file.write(f"\n{json.dumps({bank: moves})}\n")  # after a line that was cut off too

    def drop(self) -> None:
        """Remove the file: what it held has become scores."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
