"""What the REST API answers, as pydantic models: the OpenAPI description is made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from isoshare.search.results.hypervolume_history import FrontAt
from isoshare.search.service.audit import Deed
from isoshare.space.plan import Split
from isoshare.storage.records import TrialState

State = Literal["starting", "running", "interrupted", "finished", "failed"]
"""Of a study. starting: its driver prepares it, nothing is stored yet. interrupted: it is not done
and nobody works on it; it can be resumed."""


class Health(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ok"] = "ok"


class BestPlan(BaseModel):
    """The knee of the front."""

    trial: int
    values: dict[str, float]


class StudyView(BaseModel):
    """One search in one line.

    message: why it failed, what its driver said last, or who runs it. stopping: it has been told to
    stop.
    """

    name: str
    state: State
    message: str = ""
    stopping: bool = False
    stopped_by: str | None = Field(default=None, description="Who stopped it, if somebody did.")
    outside: bool = Field(
        default=False, description="It runs, but this service has not started it, nor can stop it."
    )
    created: datetime
    backbone: str | None = None
    dataset: str | None = None
    objectives: list[str] = []
    budget: int = 0
    running: int = 0
    finished: int = 0
    failed: int = 0
    stopped: int = Field(default=0, description="Trials that were ended early.")
    repeats: int = Field(default=0, description="Plans measured again, with new seeds.")
    front_size: int = 0
    hypervolume: float = 0.0
    best: BestPlan | None = None
    note: str = Field(default="", description="What people say about it.")
    tags: list[str] = []

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "digits-resnet_cifar-1",
                "state": "running",
                "created": "2026-01-31T12:00:00Z",
                "backbone": "resnet_cifar",
                "dataset": "digits",
                "objectives": ["accuracy", "parameters"],
                "budget": 40,
                "running": 2,
                "finished": 12,
                "front_size": 5,
                "hypervolume": 3190.5,
                "best": {"trial": 7, "values": {"accuracy": 0.89, "parameters": 1620}},
            }
        }
    )

    @property
    def ended(self) -> int:
        """Trials that are over, whatever came of them."""
        return self.finished + self.failed + self.stopped


class StudyDetail(StudyView):
    """A search with its conditions."""

    version: int = Field(default=0, description="Counts up with every change.")
    config: dict[str, Any] = Field(default={}, description="Every option of the search.")
    unshared: int | None = Field(default=None, description="Parameters of the unshared network.")
    plans: str | None = Field(default=None, description="Distinct plans of the space.")
    reference_point: dict[str, float] = {}
    seconds_left: float | None = Field(
        default=None, description="As fast as it has gone lately; None if that cannot be said."
    )
    sharing: str | None = Field(default=None, description="What sharing is worth beside scaling.")
    launched_by: str = Field(default="", description="The name of the token that was used.")
    gains: list[str] = Field(default=[], description="What was won, in sentences, over references.")
    option: str | None = Field(default=None, description="The option that the message is about.")


class StudyLog(BaseModel):
    """What the last driver of a study printed, if this service has started it."""

    study: str
    lines: list[str]
    option: str | None = Field(description="The option that made it fail, where it names one.")


class StudyPage(BaseModel):
    """Some of the studies, the newest first."""

    items: list[StudyView]
    total: int
    offset: int
    limit: int


class Measurement(BaseModel):
    """One seed of one plan at one fidelity on one part of the data."""

    seed: int
    split: Split
    fidelity: dict[str, Any]
    values: dict[str, float]
    seconds: float
    stored: datetime | None


class TrialView(BaseModel):
    """One plan in one study. Values are means over the seeds on validation images."""

    number: int
    fingerprint: str
    state: TrialState
    origin: str
    method: str
    on_front: bool
    values: dict[str, float]
    standard_error: dict[str, float]
    test: dict[str, float]
    repeats: int = Field(description="How often it was measured again, with new seeds.")
    seconds: float
    error: str = ""
    note: str = ""
    tags: list[str] = []


class TrialDetail(TrialView):
    """A trial with its plan and all its measurements."""

    banks: list[dict[str, Any]]
    device_bytes: dict[str, float] = Field(
        description="What a device holds beside activations, in float32 and int8, where the search "
        "counted what an image costs: it does for objectives such as macs or device_bytes."
    )
    measurements: list[Measurement]


class TrialPage(BaseModel):
    """Some of the trials of a study."""

    items: list[TrialView]
    total: int
    offset: int
    limit: int


class FrontMember(BaseModel):
    """A trial on the front; each objective is one more field."""

    model_config = ConfigDict(extra="allow")

    trial: int
    fingerprint: str
    standard_error: dict[str, float]
    test: dict[str, float]
    plan: dict[str, Any]


class FrontView(BaseModel):
    """The Pareto front, as ``pareto --json`` prints it."""

    study: str
    objectives: list[str]
    directions: dict[str, str]
    reference_point: dict[str, float]
    hypervolume: float
    trials: int
    failed: int
    excluded: int
    stopped: int
    front: list[FrontMember]
    scaling_alone: list[dict[str, Any]] = []
    above_scaling: list[dict[str, Any]] = []
    above_scaling_at_most_equal_macs: list[dict[str, Any]] = []
    sharing: str | None = Field(default=None, description="What sharing is worth, in words.")


class Hypervolume(BaseModel):
    """The moments at which the hypervolume changed, and the last one."""

    study: str
    reference_point: dict[str, float]
    moments: list[FrontAt]


class BankView(BaseModel):
    """Trainable parameters of the sites of one bank, without and with sharing."""

    unshared: int
    shared: int


class Counts(BaseModel):
    """What each bank of a plan saves, in the order of the trial's banks."""

    banks: list[BankView]


class BackboneView(BaseModel):
    """What can be shared in a backbone, as ``inspect --json`` prints it."""

    model_config = ConfigDict(extra="allow")

    backbone: str
    parameters: int
    groups: list[dict[str, Any]]


class AuditPage(BaseModel):
    """Who did what, the newest first."""

    items: list[Deed]
    total: int
    offset: int
    limit: int


class Allowed(BaseModel):
    """What may be launched on this server."""

    backbones: list[str]
    datasets: list[str]
    searches: int = Field(description="How many may run at once.")
