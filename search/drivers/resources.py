"""What one worker takes of the CPUs and accelerators that are there."""

from __future__ import annotations

import math
from collections.abc import Mapping

from isoshare.space.errors import IsoshareError

Share = dict[str, float]
"""CPUs and accelerators, by Ray's names for them."""


def share_of(workers: int, cpus: float, gpus: float | None, there: Mapping[str, float]) -> Share:
    """What one worker takes of what is ``there``.

    Accelerators are divided evenly if nothing is said of them: Ray hides them from a worker that
    asks for none. Raises IsoshareError where not a single worker would find room.
    """
    accelerators = there.get("GPU", 0)
    if gpus is None:
        gpus = 1 / math.ceil(workers / accelerators) if accelerators else 0
    for name, option, wanted in (("CPU", "cpus", cpus), ("GPU", "gpus", gpus)):
        if wanted > there.get(name, 0):
            raise IsoshareError(
                f"no training can start: --{option}-per-trial {wanted:g}, and there are "
                f"{there.get(name, 0):g} {name}s in all; lower it, or add nodes"
            )
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def has_room(there: Mapping[str, float], share: Share) -> bool:
    """Whether a worker would find its share on a node where so much is ``there``."""
    return all(there.get(name, 0) >= wanted for name, wanted in share.items())
