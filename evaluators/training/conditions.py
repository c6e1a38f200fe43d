"""What a process trains on, recorded with each measurement."""

from __future__ import annotations

from typing import Any

from isoshare.evaluators.training.batches import device
from isoshare.evaluators.training.vmap_ensemble import computes_bfloat16


def device_conditions() -> dict[str, Any]:
    """What this process trains on."""
    return {"device": str(device()), "bfloat16": computes_bfloat16(device())}
