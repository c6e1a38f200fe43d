"""One search, as the user asked for it: every option of ``launch``, checked before anything runs.

What each option is stands in ``search/options``; here is what holds between them. The same keys
stand in a TOML or JSON file, as options of the command line (with dashes), and in the database
beside the study.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError, field_validator, model_validator

from isoshare.evaluators import (
    EVALUATORS,
    OWN,
    evaluator_row,
    is_own_dataset,
    is_own_evaluator,
)
from isoshare.evaluators.data.datasets import DATASETS, full_name, row_name
from isoshare.evaluators.objectives import OBJECTIVES, objective_name, written
from isoshare.search.checks import check_data, check_measured, check_used
from isoshare.search.defaults import fitting_defaults, unserved
from isoshare.search.options.data import DataConfig
from isoshare.search.options.definition import ConfigError
from isoshare.search.options.evaluation import EvaluationConfig
from isoshare.search.options.files import read_options_file
from isoshare.search.options.policy import PolicyConfig
from isoshare.search.options.running import RunConfig
from isoshare.search.options.space import SpaceConfig
from isoshare.search.options.training import TrainingConfig
from isoshare.space.errors import IsoshareError, first_problem, one_of
from isoshare.space.methods import METHODS

__all__ = [
    "ConfigError",
    "SearchConfig",
    "load_config",
    "make_config",
]

Part = TypeVar("Part", bound=BaseModel)


class SearchConfig(
    SpaceConfig, DataConfig, TrainingConfig, EvaluationConfig, PolicyConfig, RunConfig
):
    """Every option of a search, checked together; whoever needs one part takes its class."""

    @model_validator(mode="before")
    @classmethod
    def _fitting_defaults(cls, data: Any) -> Any:
        return fitting_defaults(data) if isinstance(data, dict) else data

    @field_validator("dataset")
    @classmethod
    def _absolute(cls, name: str) -> str:
        return full_name(name)

    @field_validator("objectives")
    @classmethod
    def _known_directions(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(written, objectives))
        except IsoshareError as error:
            raise ConfigError(str(error)) from error

    @field_validator("weights", "weight_map")
    @classmethod
    def _absolute_path(cls, path: str | None) -> str | None:
        return path and str(Path(path).expanduser().absolute())

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        tables: tuple[tuple[str, tuple[str, ...], Collection[str]], ...] = (
            (
                "data set",
                () if is_own_dataset(self.dataset) else (row_name(self.dataset),),
                (*DATASETS, OWN),
            ),
            ("method", self.methods, METHODS),
            (
                "evaluator",
                () if is_own_evaluator(self.evaluator) else (self.evaluator,),
                EVALUATORS,
            ),
        )
        for kind, names, table in tables:
            for name in names:
                if name not in table:
                    raise ConfigError(one_of(kind, name, table))
        asked_names = {objective_name(asked) for asked in self.objectives}
        if len(asked_names) < 2 or len(asked_names) < len(self.objectives):
            raise ConfigError(
                "a search trades two or more different --objectives, got "
                f"{','.join(self.objectives)}: choose from {', '.join(OBJECTIVES)}"
            )
        row = evaluator_row(self.evaluator)
        least = row.least_epochs
        if self.epochs < least:
            raise ConfigError(
                f"epochs must be at least {least} with evaluator {self.evaluator!r}, "
                f"got {self.epochs}"
            )
        check_measured(self)
        check_data(self)
        return self

    @model_validator(mode="after")
    def _fitting_search(self) -> Self:
        if (self.driver == "simulate") != (self.table is not None):
            raise ConfigError(
                "--driver simulate answers from a table and needs --table, and only it does: got "
                f"--driver {self.driver} with {f'--table {self.table}' if self.table else 'none'}"
            )
        if self.sampler == "ehvi" and (why := unserved(self.objectives)):
            raise ConfigError(f"{why}: leave --sampler out, or take --sampler tpe")
        if list(self.rungs) != sorted({rung for rung in self.rungs if 0 < rung < self.epochs}):
            raise ConfigError(
                f"--rungs must be ascending numbers of epochs below --epochs {self.epochs}, got "
                f"{','.join(map(str, self.rungs))}"
            )
        return self

    @property
    def space(self) -> SpaceConfig:
        """The options of the search space alone; so the next ones."""
        return self._part(SpaceConfig)

    @property
    def data(self) -> DataConfig:
        """Those of the data."""
        return self._part(DataConfig)

    @property
    def training(self) -> TrainingConfig:
        """Those of one training."""
        return self._part(TrainingConfig)

    @property
    def evaluation(self) -> EvaluationConfig:
        """Those of one measurement."""
        return self._part(EvaluationConfig)

    @property
    def policy(self) -> PolicyConfig:
        """Those of the search policy."""
        return self._part(PolicyConfig)

    def _part(self, kind: type[Part]) -> Part:
        return kind.model_construct(**{name: getattr(self, name) for name in kind.model_fields})

    def document(self) -> dict[str, Any]:
        """The options as JSON values, without the database they are stored in."""
        return self.model_dump(mode="json", exclude={"storage", "study"})


def load_config(file: Path | None, options: Mapping[str, Any]) -> SearchConfig:
    """The options of ``file``, but for those that ``options`` gives. As ``requested``."""
    merged = {**(read_options_file(file) if file else {}), **options}
    return requested(merged)


def requested(given: Mapping[str, Any]) -> SearchConfig:
    """The options that somebody asks for. Raises ConfigError; also for one without effect."""
    config = make_config(given)
    check_used(given, config.evaluator, config.dataset)
    return config


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
