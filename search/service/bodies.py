"""What the REST API takes, beside the options of a search, as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Tag = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\s,]+$")]


class NoteRequest(BaseModel):
    """What is to be noted, in the place of what was."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "for the paper", "tags": ["paper"]}}
    )

    text: str = Field(default="", max_length=10_000)
    tags: list[Tag] = Field(default=[], max_length=20)


class RenameRequest(BaseModel):
    """The new name of a study."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "mine"}})

    name: str


class InspectRequest(BaseModel):
    """Which backbone to look at."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"backbone": "resnet_cifar", "arguments": {"depth": 20}}},
    )

    backbone: str
    arguments: dict[str, bool | int | float | str] = {}
