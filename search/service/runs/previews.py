"""A search as it would be, before it is launched: what it could share, and its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from isoshare.search.service.runs.inspect_process import look_ahead


class Group(BaseModel):
    """Layers of one shape."""

    shape: str
    sites: int


class Preview(BaseModel):
    """What a search would do, as ``launch --dry-run --json`` prints it."""

    study: str
    backbone: str
    arguments: dict[str, bool | int | float | str]
    dataset: str
    parameters: int
    smallest: int = Field(description="Parameters of the smallest plan.")
    reach: float = Field(description="The share of the parameters that sharing can touch.")
    groups: list[Group]
    plans: int
    trials: int
    workers: int
    seconds_per_trial: float | None = Field(description="None: not known before the first one.")
    seconds: float | None
    notes: list[str]
    warnings: list[str]


def preview_of(options: Mapping[str, Any]) -> Preview:
    """Try out a search that has been checked; it takes some seconds. Raises Problem."""
    return Preview.model_validate(look_ahead(options))
