"""Options that say where a search runs and where its results go; they decide no result."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, field_validator

from isoshare.search.options.definition import FROZEN, ConfigError, option
from isoshare.search.options.durations import PATTERN, seconds_of

PLANS = r"^(auto|[1-9]\d?)$"
"""Plans per worker."""


def _cpus() -> int:
    return os.cpu_count() or 1


def _default_url() -> str:
    from isoshare.storage.opening.database import default_url  # brings SQLAlchemy

    return default_url()


class RunConfig(BaseModel):
    """The machines, and the places of what is written."""

    model_config = FROZEN
    GROUP: ClassVar = "Running"

    study: str | None = option(
        help="The name of the search.",
        metavar="NAME",
        shown="DATASET-BACKBONE-N",
        min_length=1,
        max_length=100,
    )
    workers: int = option(
        help="The number of trainings that run in parallel.",
        metavar="N",
        shown="one per CPU",
        make=_cpus,
        ge=1,
        le=10**4,
    )
    timeout: str | None = option(
        help="After this time no training is started, and those that run end with their epoch: "
        "90s, 30m, 2h, 1d. It counts from when the first can start: data, the unshared network "
        "and Ray are made ready before.",
        metavar="TIME",
        pattern=PATTERN,
    )
    driver: Literal["ray", "simulate"] = option(
        "ray", "What runs the trainings: ray, or simulate, which reads them from --table."
    )
    table: str | None = option(
        help="A ShareBench table for --driver simulate: sharebench-digits, or a file.",
        metavar="T",
        min_length=1,
    )
    plans_per_worker: str = option(
        "1",
        "Plans that a worker trains side by side, where the network is small and plans differ in "
        "kernels alone: a number, or auto. What they give differs by rounding.",
        metavar="N",
        pattern=PLANS,
    )
    ray_address: str | None = option(help="An existing Ray cluster to run on.", metavar="A")
    cpus_per_trial: float = option(
        1.0, "CPUs, and threads, per training.", metavar="X", gt=0, le=10**4
    )
    gpus_per_trial: float | None = option(
        help="Accelerators per training; below 1, trainings share one.",
        metavar="X",
        shown="an even share",
        ge=0,
        le=10**4,
    )
    storage: str = option(
        help="The database of the studies.",
        metavar="URL",
        shown="sqlite:///isoshare.db, or ISOSHARE_STORAGE",
        make=_default_url,
    )
    out: str | None = option(
        help="The folder that the picture and the plan are written to.",
        metavar="DIR",
        shown="isoshare-out/STUDY",
    )

    @field_validator("timeout", mode="before")
    @classmethod
    def _is_a_time(cls, given: Any) -> Any:
        if given is not None and not re.fullmatch(PATTERN, str(given)):
            raise ConfigError(f"--timeout is a time such as 90s, 30m, 2h or 1d, got {given!r}")
        return given if given is None else str(given)

    @field_validator("plans_per_worker", mode="before")
    @classmethod
    def _is_a_number_or_auto(cls, given: Any) -> Any:
        if not re.fullmatch(PLANS, str(given)):
            raise ConfigError(f"--plans-per-worker is a number up to 99, or auto, got {given!r}")
        return str(given)

    @property
    def seconds(self) -> float | None:
        """The time that this run has; None if it has no limit."""
        return None if self.timeout is None else seconds_of(self.timeout)
