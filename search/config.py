"""One search, as the user asked for it: every option of ``launch``, checked before anything runs.

The same keys stand in a TOML file, as options of the command line (with dashes), and in the
database beside the study.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from isoshare.evaluators import EVALUATORS, users
from isoshare.evaluators.data.datasets import DATASETS, DataOptions, full_name, row_name
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.evaluators.sharebench import Table
from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.methods import METHODS
from isoshare.space.plan import first_problem
from isoshare.storage.database import default_url

FIRST_SEARCH: dict[str, Any] = {
    "backbone_arg": {"depth": 20, "width": 2},
    "epochs": 6,
    "replicates": 16,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 0.02,
    "validation": 0.5,
}
"""The settings of a search on digits for which no backbone is named: a first search of minutes. The
network is so small that sharing costs it accuracy, and so many seeds of it are trained that plans
can be told apart; a wider network would learn digits however much it shares, and its front would
be a picture of luck (docs/benchmarks.md)."""


DIGITS = (None, "digits")


class ConfigError(IsoshareError):
    """An option that is unknown, missing or out of range."""


class SearchConfig(BaseModel):
    """Every option of a search with its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    study: str | None = Field(None, min_length=1, max_length=100)
    backbone: str = Field("resnet_cifar", min_length=1)
    backbone_arg: dict[str, bool | int | float | str] = {}
    dataset: str = "digits"
    subset: int | None = Field(None, ge=1)
    resolution: int | None = Field(None, ge=1)
    channels: Literal[1, 3] | None = None
    data_folder: str | None = Field(None, min_length=1)
    methods: tuple[str, ...] = Field(tuple(METHODS), min_length=1)
    objectives: tuple[str, ...] = ("accuracy", "parameters")
    evaluator: str = "train"
    pretrain_epochs: int = Field(30, ge=1)
    weights: str | None = Field(None, min_length=1)
    time_steps: int = Field(15, ge=1)
    trials: int = Field(40, ge=1)
    epochs: int = Field(15, ge=0)
    replicates: int = Field(2, ge=1)
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(0.1, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "standard"] = "standard"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    validation: float = Field(0.2, gt=0, lt=1)
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    sampler: str = "ehvi"
    repeats: float = Field(0.0, ge=0, lt=1)
    rungs: tuple[int, ...] = ()
    reduction_factor: int = Field(3, ge=2)
    stop_at: float | None = Field(None, gt=0, lt=1)
    driver: Literal["ray", "simulate"] = "ray"
    table: str | None = Field(None, min_length=1)
    max_parameters: int | None = Field(None, ge=1)
    max_macs: int | None = Field(None, ge=1)
    max_bytes: int | None = Field(None, ge=1)
    min_accuracy: float | None = Field(None, gt=0, le=1)
    seed: int = Field(0, ge=0)
    storage: str = Field(default_factory=default_url)
    ray_address: str | None = None
    cpus_per_trial: float = Field(1.0, gt=0)
    gpus_per_trial: float | None = Field(None, ge=0)
    out: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fitting_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("table") is not None:
            return with_table(data)
        if "sampler" not in data and not trades_exact(data.get("objectives", ())):
            data = {"sampler": "tpe", **data}
        if data.get("evaluator", "train") != "train":
            row = EVALUATORS.get(str(data["evaluator"]))
            return {**(row.defaults if row else {}), **data}
        if "backbone" not in data and data.get("dataset") in DIGITS:
            given = data.get("backbone_arg", {})
            arguments = (
                {**FIRST_SEARCH["backbone_arg"], **given} if isinstance(given, dict) else given
            )
            return {**FIRST_SEARCH, **data, "backbone_arg": arguments}
        return data

    @field_validator("dataset")
    @classmethod
    def _absolute(cls, name: str) -> str:
        return full_name(name)

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        tables = (
            ("data set", (row_name(self.dataset),), DATASETS),
            ("method", self.methods, METHODS),
            ("objective", self.objectives, OBJECTIVES),
            ("evaluator", (self.evaluator,), EVALUATORS),
        )
        for kind, names, table in tables:
            for name in names:
                if name not in table:
                    raise ConfigError(one_of(kind, name, table))
        if len(set(self.objectives)) < 2 or len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(
                "a search trades two or more different objectives, got "
                f"{','.join(self.objectives)}: choose from {', '.join(OBJECTIVES)}"
            )
        least = EVALUATORS[self.evaluator].least_epochs
        if self.epochs < least:
            raise ConfigError(
                f"epochs must be at least {least} with evaluator {self.evaluator!r}, "
                f"got {self.epochs}"
            )
        for name in self.objectives:
            measured = OBJECTIVES[name].exact is None and not OBJECTIVES[name].of_an_image
            if measured and name not in EVALUATORS[self.evaluator].measures:
                raise ConfigError(_not_measured(name, self.evaluator))
        return self

    @model_validator(mode="after")
    def _fitting_search(self) -> Self:
        if (self.driver == "simulate") != (self.table is not None):
            raise ConfigError(
                "--driver simulate answers from a table and needs --table, and only it does: got "
                f"--driver {self.driver} with {f'--table {self.table}' if self.table else 'none'}"
            )
        if list(self.rungs) != sorted({rung for rung in self.rungs if 0 < rung < self.epochs}):
            raise ConfigError(
                f"rungs must be ascending numbers of epochs below --epochs {self.epochs}, got "
                f"{','.join(map(str, self.rungs))}"
            )
        return self

    @property
    def data_options(self) -> DataOptions:
        """What is asked of the data set."""
        return DataOptions(self.subset, self.resolution, self.channels, self.data_folder)

    def document(self) -> dict[str, Any]:
        """The options as JSON values, without the database they are stored in."""
        return self.model_dump(mode="json", exclude={"storage", "study"})


def trades_exact(objectives: Any) -> bool:
    """Whether one measured objective is traded against one that is exact, as the default sampler
    needs it; so are the default objectives.
    """
    if not objectives or not all(name in OBJECTIVES for name in objectives):
        return True
    exact = [name for name in objectives if OBJECTIVES[name].exact is not None]
    return len(objectives) == 2 and len(exact) == 1


def with_table(data: dict[str, Any]) -> dict[str, Any]:
    """The options of a search that a table answers: those that made the table, which cannot be
    others, and what is given.
    """
    made = Table.conditions_of(data["table"])["config"]
    for name, value in made.items():
        if name in data and json.loads(json.dumps(data[name])) != value:
            raise ConfigError(
                f"table {data['table']!r} was made with {name} {value}, got {data[name]}: leave "
                f"--{name.replace('_', '-')} out, or train instead"
            )
    return {"driver": "simulate", "replicates": 1, **data, **made}


def _not_measured(objective: str, evaluator: str) -> str:
    able = [name for name, row in EVALUATORS.items() if objective in row.measures]
    return (
        f"evaluator {evaluator!r} does not measure objective {objective!r}: leave it out, or take "
        f"--evaluator {' or '.join(able)}"
    )


def load_config(file: Path | None, options: Mapping[str, Any]) -> SearchConfig:
    """The options of ``file``, those of the command line before them.

    Raises ConfigError; also for an option that would have no effect.
    """
    merged = {**(_read_toml(file) if file else {}), **options}
    config = make_config(merged)
    _check_used(merged, config.evaluator)
    return config


def _check_used(given: Mapping[str, Any], evaluator: str) -> None:
    """What a user has asked for must not be ignored silently."""
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if evaluator not in users(name):
            raise ConfigError(
                f"evaluator {evaluator!r} does not use {flag}, got {value!r}: leave it out, or "
                f"take --evaluator {' or '.join(users(name))}"
            )
        for taken, idle in EVALUATORS[evaluator].instead.items():
            if name == idle and given.get(taken) is not None:
                raise ConfigError(
                    f"--{taken.replace('_', '-')} takes the place of {flag}, got both: leave one "
                    "of them out"
                )


def make_config(options: Mapping[str, Any]) -> SearchConfig:
    """Check options. Raises ConfigError with the option, the rule and the value."""
    try:
        return SearchConfig.model_validate(dict(options))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["type"] == "extra_forbidden":
            raise ConfigError(
                one_of("option", problem["loc"][0], SearchConfig.model_fields)
            ) from error
        raise ConfigError(f"wrong option {first_problem(error)}") from error


def parse_argument(text: str) -> tuple[str, bool | int | float | str]:
    """One ``--backbone-arg``: ``depth=20``, ``pretrained=false``, ``name=text``."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ConfigError(f"--backbone-arg must look like depth=20, got {text!r}")
    try:
        parsed = json.loads(value)
    except ValueError:
        return key, value
    return key, parsed if isinstance(parsed, bool | int | float) else value


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
