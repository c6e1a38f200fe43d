"""What a study is called when nobody has named it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from search.config import SearchConfig


def free_name(taken: Collection[str], config: SearchConfig) -> str:
    """A name that can be typed: digits-resnet_cifar-1, the number after the last one."""
    data = re.sub(r"[^\w.-]+", "-", Path(config.dataset).name)  # of a folder its last part
    stem = f"{data}-{config.backbone.rpartition(':')[2]}"
    numbers = range(1, len(taken) + 2)
    return next(name for name in (f"{stem}-{number}" for number in numbers) if name not in taken)
