"""Measure a plan by a function of the user's own: any task, any training, any metric."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from isoshare.evaluators.data.randomness import seeded
from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.evaluators.network_source import NetworkSource
from isoshare.evaluators.own_code.by_value import dumps, loads, stubborn_attribute
from isoshare.evaluators.own_code.own_training import Training
from isoshare.evaluators.own_code.stepwise import HandOver, stepwise
from isoshare.evaluators.own_code.trial import (
    STUDY_FAULT,
    EvaluateError,
    Report,
    Trial,
    TrialStopped,
    as_values,
)
from isoshare.evaluators.own_code.untrained import untrained
from isoshare.evaluators.training.pace import is_past
from isoshare.space.errors import listed
from isoshare.space.plan import SharingPlan, Split

Evaluate = Callable[[nn.Module, Trial], Any]


@dataclass(frozen=True)
class UserFunction(Evaluator):
    """Calls ``evaluate(network, trial)`` once for each seed.

    objectives: the names that it measures. folder: where trials keep their checkpoints.
    until: seconds of ``time.time`` after which each report is told, as the search may end the
        trial. number: of the trial that is measured. sites: layers that are searched, though no
        sample has shown that they are used.
    """

    evaluate: Evaluate
    source: NetworkSource
    objectives: tuple[str, ...]
    folder: Path | None = None
    until: float | None = None
    number: int = -1
    sites: tuple[str, ...] = ()

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """What the function returns, and what it reports at ``rungs``. Raises EvaluateError."""
        if isinstance(self.evaluate, Training):
            measure = replace(self, evaluate=self.evaluate.on(split))
        else:
            assert split == "validation", "only the user knows of other data"
            measure = self
        for seed in seeds:
            yield from measure._measure(plan, seed, rungs)

    def check(self) -> None:
        """The unshared network must be there, and the same data: on another node they may not."""
        self.source.backbone()
        if isinstance(self.evaluate, Training):
            self.evaluate.check()

    def ending(self, deadline: float | None) -> UserFunction:
        """The function with a deadline."""
        return replace(self, until=deadline)

    def seconds(self, seeds: int) -> float | None:
        """Of our own training; how long a function of the user's trains it alone knows."""
        if not isinstance(self.evaluate, Training):
            return None
        with suppress(Exception):  # the search itself will say what is wrong
            return seeds * self.evaluate.seconds(self.source.network(SharingPlan(), 0))
        return None

    def for_trial(self, number: int) -> UserFunction:
        """The function for this trial."""
        return replace(self, number=number)

    def trial(
        self, plan: SharingPlan, seed: int, report: Report, wants: Callable[[int], bool]
    ) -> Trial:
        """What the function is told."""
        return Trial(
            self.number,
            plan,
            seed,
            objectives=self.objectives,
            build=self.source.network,
            folder=trial_folder(self.folder, self.number, seed),
            report=report,
            wants=wants,
        )

    def _measure(
        self, plan: SharingPlan, seed: int, rungs: Sequence[int]
    ) -> Iterator[list[Measured]]:
        started = time.perf_counter()

        def wants(epoch: int) -> bool:
            return epoch in rungs or is_past(self.until)

        def train(hand_over: HandOver[list[Measured]]) -> Any:
            def report(values: dict[str, float], epoch: int) -> bool:
                if not wants(epoch):
                    return False
                return hand_over([Measured(seed, values, time.perf_counter() - started, epoch)])

            trial = self.trial(plan, seed, report, wants)
            with seeded(seed):
                result = self.evaluate(trial.network(), trial)
            self.check_used(trial)
            return result

        try:
            values = as_values((yield from stepwise(train)), self.objectives)
        except (EvaluateError, TrialStopped):
            raise
        except Exception as error:  # whatever the user's function raises
            raise EvaluateError(in_user_words(error, self.evaluate)) from error
        try:
            yield [Measured(seed, values, time.perf_counter() - started)]
        finally:  # it has been taken
            remove_folder(trial_folder(self.folder, self.number, seed))

    def check_used(self, trial: Trial) -> None:
        """Raise EvaluateError for layers that the training of a trial has never used."""
        made = trial.made
        if made is None:
            return
        if idle := untrained(made, lambda: self.source.network(trial.plan, trial.seed), self.sites):
            raise EvaluateError(
                f"{STUDY_FAULT}{listed(list(map(repr, idle)), 3)} had no gradient in this "
                "training: nothing calls these layers, or their weights are read past them, so "
                "sharing them means nothing; make the study with create_study(..., "
                "example_input=...), which leaves out what cannot share"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels with the code of the user's own that it needs. Raises EvaluateError."""
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        model = self.source.model
        if isinstance(model, nn.Module) and (stubborn := stubborn_attribute(model)):
            raise EvaluateError(
                f"the model cannot be sent to another process because of its attribute "
                f"{stubborn!r}: leave it out, give a function that makes the model, or take "
                "n_jobs=1"
            )
        made_by = type(model) if isinstance(model, nn.Module) else model
        code = (*getattr(self.evaluate, "code", (self.evaluate,)), made_by)
        return _read, (dumps(state, "the function or the model", *code),)


def _read(data: bytes) -> UserFunction:
    return UserFunction(**loads(data))


def trial_folder(folder: Path | None, number: int, seed: int) -> Path | None:
    """Where one training keeps what it may go on from."""
    return None if folder is None else folder / f"{number}-{seed}"


def remove_folder(folder: Path | None) -> None:
    """Remove what a training that has ended has left."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def in_user_words(error: Exception, function: Callable[..., Any]) -> str:
    """The last line of an exception, and its place in the user's own file."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    home = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == home] or list(frames)
    path = Path(own[-1].filename)
    place = "line" if path.parent.name.startswith("ipykernel") else f"{path.name}, line"
    return f"{said} ({place} {own[-1].lineno})"
