"""What a study may be called, and what it is called when nobody has named it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from isoshare.space.errors import IsoshareError

LONGEST = 100
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""Names that mean the same in an address, on a command line and as the name of a file."""


def is_plain(name: str) -> bool:
    """Whether a name means the same everywhere."""
    return re.fullmatch(NAME, name) is not None


def check_name(name: str) -> str:
    """The name, if a new study may have it. Raises IsoshareError."""
    if len(name) > LONGEST or not is_plain(name):
        raise IsoshareError(
            "a study name has letters (A-Z, a-z), digits, '_', '.' and '-', begins with a letter "
            f"or digit, and has at most {LONGEST} characters, got {name[: LONGEST + 1]!r}"
        )
    return name


def free_name(taken: Collection[str], dataset: str, backbone: str) -> str:
    """A name that can be typed: digits-resnet_cifar-1, the number after the last one."""
    data = Path(dataset).name.rpartition(":")[2]  # of a folder its last part
    parts = f"{data}-{backbone.rpartition(':')[2]}"
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", parts).lstrip("_.-")[: LONGEST - 10] or "study"
    numbers = range(1, len(taken) + 2)
    return next(name for name in (f"{stem}-{number}" for number in numbers) if name not in taken)
