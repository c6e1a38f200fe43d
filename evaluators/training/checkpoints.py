"""Checkpoints: where a killed training goes on.

One file holds everything that decides how the training continues, so that it ends with the same
bits as one that was never interrupted. It is replaced as a whole, and not after every epoch: a
training of seconds writes its end alone. Checkpoints may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from isoshare.space.plan import SharingPlan

SECONDS_BETWEEN = 5.0
"""Writing takes milliseconds; so it is nothing beside the training."""


def training_file(plan: SharingPlan, *decisive: object) -> str:
    """The name of the file of a training. decisive: all that decides how it ends beside the plan
    and the version of torch, as JSON values.
    """
    asked = json.dumps([*decisive, torch.__version__], sort_keys=True)
    return f"{plan.fingerprint}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.pt"


class Checkpoint:
    """One file, or none: then nothing is kept.

    A file that cannot be read counts as none, and one that cannot be written is left out: a
    training must not fail for what only spares it work.

    keeps_end: whether the end of the training is written too, and outlives ``taken``: for a later
    measurement of the same networks on other images. Somebody else removes it then.
    """

    def __init__(self, path: Path | None, *, keeps_end: bool = False) -> None:
        self.keeps_end = keeps_end
        self._path = path
        self._written = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """What was kept last."""
        if self._path is None:
            return None
        with suppress(OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
            found: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
            return found
        return None

    @property
    def is_there(self) -> bool:
        """Whether something has been kept, if it can be read."""
        return self._path is not None and self._path.is_file()

    @property
    def is_due(self) -> bool:
        """Whether it is time to write again."""
        return self._path is not None and time.monotonic() - self._written >= SECONDS_BETWEEN

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file, all of it or nothing."""
        if self._path is None:
            return
        with suppress(OSError, RuntimeError):  # torch raises the latter when a disk is full
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="half-", dir=self._path.parent) as half:
                torch.save(state, Path(half, "state"))
                Path(half, "state").replace(self._path)
        self._written = time.monotonic()

    def taken(self) -> None:
        """The training has ended, and its measurement was taken."""
        if not self.keeps_end:
            self.remove()

    def remove(self) -> None:
        """Delete it, and its folder when that is empty: it is not needed any more."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
                self._path.parent.rmdir()
