"""What a user's own training is told about its trial, and what it can say on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.space.errors import IsoshareError, one_of, short

if TYPE_CHECKING:
    import torch
    from torch import nn

    from isoshare.space.plan import SharingPlan

Values = dict[str, float]
Report = Callable[[Values, int], bool]
"""Takes values and the epoch; returns whether the trial shall stop."""


STUDY_FAULT = "this study cannot go on: "
"""How the failure of a trial begins that is no fault of its plan: the search ends with it."""


class EvaluateError(IsoshareError):
    """What a user's own function returned, reported or raised is no measurement."""


class TrialStopped(Exception):  # noqa: N818  nothing is wrong
    """The training goes on although it was told to stop: it is ended here."""


class Trial:
    """One training of one plan.

    number: counts the trials of a study from 0. plan: how the network shares its weights. seed: of
    this training; torch, numpy and random are seeded with it. device: where the network is.
    objectives: the names of what is to be measured. made: the network that was asked for last.
    """

    def __init__(
        self,
        number: int,
        plan: SharingPlan,
        seed: int,
        *,
        objectives: Sequence[str],
        build: Callable[[SharingPlan, int], nn.Module],
        folder: Path | None,
        report: Report,
        wants: Callable[[int], bool],
    ) -> None:
        self.number, self.plan, self.seed = number, plan, seed
        self.objectives, self._build, self._folder = tuple(objectives), build, folder
        self._report, self._wants = report, wants
        self._stop = False
        self.made: nn.Module | None = None

    def __repr__(self) -> str:
        return f"Trial(number={self.number}, seed={self.seed}, plan={self.plan.fingerprint})"

    @property
    def device(self) -> torch.device:
        """Where the network is: an accelerator if this process has one."""
        from isoshare.evaluators.training.batches import device

        return device()

    @property
    def directory(self) -> Path:
        """A folder for checkpoints of this training. A worker that takes the trial up after one
        that was killed finds it as it was left; it is removed when the trial has finished.
        """
        if self._folder is None:
            raise EvaluateError("there is no home folder for checkpoints: set ISOSHARE_CACHE")
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def file(self, name: str) -> Path | None:
        """A file in that folder; None where there is no place for it."""
        return None if self._folder is None else self.directory / name

    def network(self) -> nn.Module:
        """The network of the plan, a new one with each call, with its first weights."""
        self.made = self._build(self.plan, self.seed)
        return self.made

    def wants_report(self, epoch: int) -> bool:
        """Whether a report after ``epoch`` epochs would be looked at: it is a rung, or the time is
        up. A metric that takes long can be spared elsewhere; whoever reports always need not ask.
        """
        return self._wants(epoch)

    def report(self, value: Any, epoch: int) -> None:
        """Say how good the network is after ``epoch`` epochs, counted from 1.

        value: as ``evaluate`` returns it. At a rung it is kept and compared with other trials.
        Raises EvaluateError for what is no value, TrialStopped where ``should_stop`` was ignored.
        """
        if self._stop:
            raise TrialStopped(f"trial {self.number} was told to stop: see trial.should_stop()")
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1:
            raise EvaluateError(f"epochs are counted from 1, reported was {short(epoch)}")
        self._stop = self._report(as_values(value, self.objectives, "report"), epoch)

    def should_stop(self) -> bool:
        """Whether to return now: others are better after so many epochs, or the time is up."""
        return self._stop


def as_values(result: Any, objectives: Sequence[str], said: str = "evaluate") -> Values:
    """What a user's function returned, as the measured objectives by name.

    objectives: the names that are wanted. said: who said it. Raises EvaluateError.
    """
    if not isinstance(result, Mapping):
        if len(objectives) > 1:
            raise EvaluateError(
                f"{said} has to give {', '.join(objectives)} by name, as in "
                f"{{{objectives[0]!r}: 0.9, ...}}, got {short(result)}"
            )
        result = {objectives[0]: result}
    for name in result:
        if name not in objectives:
            raise EvaluateError(f"{said}: {one_of('objective', name, objectives)}")
    for name in objectives:
        if name not in result:
            raise EvaluateError(f"{said} gave no {name}, only {', '.join(result) or 'nothing'}")
    return {name: _number(name, result[name], said) for name in objectives}


def _number(name: str, value: Any, said: str) -> float:
    if getattr(value, "requires_grad", False):
        raise EvaluateError(
            f"{said} gave a tensor with its graph as {name}: give value.item() in its place"
        )
    if value is None or isinstance(value, str | bytes):
        raise EvaluateError(f"{said} gave {value!r} as {name}: it has to be a number")
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(value).__name__
        raise EvaluateError(f"{said} gave a {kind} as {name}: it has to be a number") from error
    if not math.isfinite(number):
        raise EvaluateError(f"{said} gave {number} as {name}: has the training diverged?")
    return number
