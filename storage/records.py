"""Frozen values that leave the store: no row and no session ever does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum, sqrt
from statistics import fmean
from typing import Any, Literal, Protocol, Self

from isoshare.space.plan import SharingPlan, Split
from isoshare.storage.study_values import StudyConfig, StudyContext

TrialState = Literal["running", "finished", "failed", "stopped"]
"""A stopped trial was ended early: it was measured at fewer epochs than the others."""


@dataclass(frozen=True)
class StudyRecord:
    """One search: what was asked for, and what is fixed about its space."""

    name: str
    created: datetime
    config: StudyConfig
    context: StudyContext

    @classmethod
    def read(
        cls, name: str, created: datetime, config: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Self:
        """From JSON documents. Raises TypeError for parts of a later version, with more to them."""
        return cls(name, created, StudyConfig.read(config), StudyContext.read(context))


@dataclass(frozen=True)
class MeasurementRecord:
    """The measured objectives of one plan with one seed at one fidelity on one part of the data.

    stored: when it came into the database; None if it has not yet.
    """

    seed: int
    split: Split
    fidelity: dict[str, Any]
    values: dict[str, float]
    seconds: float
    conditions: dict[str, Any] = field(default_factory=dict)
    stored: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, repr=False)
class TrialRecord:
    """One plan in one study, with all its measurements.

    number: counts the trials of a study from 0, in the order in which they were proposed.
    origin: who proposed the plan: the name of a warm start, "sampler", "random" or "walk".
    exact: the objectives that follow from the plan alone.
    proposal: what the sampler must see again when the search is resumed.
    """

    number: int
    plan: SharingPlan
    origin: str
    state: TrialState
    exact: dict[str, float]
    proposal: dict[str, Any]
    attempts: int = 0
    error: str = ""
    measurements: tuple[MeasurementRecord, ...] = ()

    def samples(self, objective: str, split: Split = "validation") -> list[float]:
        """The measured values of an objective, one for each seed, in the order of the seeds.

        Of a seed that was measured at several epochs it is the last one.
        """
        chosen = [m for m in self.measurements if m.split == split and objective in m.values]
        if len(chosen) > 1:
            chosen.sort(key=lambda m: (m.seed, m.fidelity.get("epochs", 0)))
        return list({m.seed: m.values[objective] for m in chosen}.values())

    def value(self, objective: str, split: Split = "validation") -> float | None:
        """The exact value, or the mean over the seeds; None if there is none."""
        if objective in self.exact:
            return self.exact[objective]
        samples = self.samples(objective, split)
        return fmean(samples) if samples else None

    def error_bar(self, objective: str, split: Split = "validation") -> float | None:
        """The standard error of the mean over the seeds; None for fewer than two."""
        samples = self.samples(objective, split)
        if len(samples) < 2:
            return None
        mean = fmean(samples)  # statistics.stdev is exact, and ten times as slow
        squares = fsum((one - mean) ** 2 for one in samples)
        return sqrt(squares / (len(samples) - 1) / len(samples))

    def __repr__(self) -> str:
        """One line, as lists of trials are printed: the whole record takes a page."""
        names = dict.fromkeys(
            [*(name for m in self.measurements for name in m.values), *self.exact]
        )
        known = [f"{name}={value:.6g}" for name in names if (value := self.value(name)) is not None]
        banks = f"banks={len(self.plan.banks)}"
        return f"TrialRecord({', '.join([str(self.number), self.state, *known, banks])})"

    @property
    def seconds(self) -> float:
        """What all measurements of the trial took together."""
        return sum(m.seconds for m in self.measurements)


class HasObjectives(Protocol):
    """What is known of a trial when it is compared: its record, or its outcome alone."""

    @property
    def number(self) -> int:
        """Counts the trials of a study."""

    @property
    def state(self) -> TrialState:
        """Whether it has finished."""

    def value(self, objective: str) -> float | None:
        """On the validation images; None if it has none."""


@dataclass(frozen=True)
class TrialValues:
    """What came of a trial, in numbers alone: enough to compare thousands without their plans.

    values: exact ones, and means over the seeds measured on the validation images.
    """

    number: int
    state: TrialState
    values: dict[str, float]

    def value(self, objective: str) -> float | None:
        """The same as that of the trial's record."""
        return self.values.get(objective)


@dataclass(frozen=True)
class RunningDriver:
    """The process that runs a study: it holds the lease and has been heard of lately."""

    host: str
    process: int
    since: datetime


@dataclass(frozen=True)
class StudySummary:
    """One line about a study. repeats: how often plans were measured again with new seeds."""

    name: str
    created: datetime
    config: StudyConfig
    finished: int
    failed: int
    stopped: int = 0
    repeats: int = 0


@dataclass(frozen=True)
class NoteRecord:
    """What people say about a study, or about one of its trials.

    trial: its number; None for the study. author: the name of a token, empty without one.
    """

    trial: int | None
    text: str = ""
    tags: tuple[str, ...] = ()
    author: str = ""
    written: datetime | None = field(default=None, compare=False)
