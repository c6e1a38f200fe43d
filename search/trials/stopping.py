"""Why a search ends before its budget: time is up, the caller asks, all trials fail alike."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from isoshare.evaluators import is_own_dataset, is_own_evaluator
from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.own_code.trial import STUDY_FAULT
from isoshare.search.config import SearchConfig
from isoshare.search.jobs import DriverError
from isoshare.storage.records import TrialRecord

ALIKE = 5
"""So many failures of one kind in a row, and the fault is not that of a plan."""


class Stopping:
    """What a search looks at before it starts the next trial.

    counts_failures: whether failures that are all alike end it.
    deadline: seconds of ``time.time``, as it is told to workers on other machines; None: no limit.
    """

    def __init__(self, counts_failures: bool) -> None:
        self._counts_failures = counts_failures
        self.deadline: float | None = None
        self._asked = False
        self._kind, self._alike = "", 0

    @classmethod
    def of(cls, config: SearchConfig) -> Stopping:
        """Of a search: failures count where code of the user's own is run."""
        return cls(is_own_evaluator(config.evaluator) or is_own_dataset(config.dataset))

    @property
    def time_is_up(self) -> bool:
        """Whether what runs shall end at its next report."""
        return self.deadline is not None and time.time() >= self.deadline

    @property
    def is_asked(self) -> bool:
        """Whether nothing shall be started any more."""
        return self._asked or self.time_is_up

    def drops(self, trial: TrialRecord, measured: Sequence[Measured]) -> bool:
        """Whether a training is left out: the time is up before its end, and it measures again, or
        tests, a plan that has its values.
        """
        is_again = self.time_is_up and trial.state != "running"
        return is_again and any(one.epochs is not None for one in measured)

    def ask(self) -> None:
        """Start nothing any more; what runs is finished."""
        self._asked = True

    def begin(self, seconds: float | None) -> None:
        """Start again, for so many seconds at most."""
        self._asked, self._kind, self._alike = False, "", 0
        self.deadline = None if seconds is None else time.time() + seconds

    def note_success(self) -> None:
        """A trial was measured."""
        self._alike = 0

    def note_failure(self, reason: str) -> None:
        """A trial has failed. Raises DriverError when it is one too many of its kind, or when the
        fault is that of the study.
        """
        if reason.startswith(STUDY_FAULT):
            raise DriverError(reason)
        kind = re.sub(r"[0-9.e+-]+", "", reason)
        self._alike = self._alike + 1 if kind == self._kind else 1
        self._kind = kind
        if self._counts_failures and self._alike >= ALIKE:
            raise DriverError(
                f"{ALIKE} trials in a row failed in the same way, so the search has stopped: "
                f"{reason}; they count as failed, the same call goes on behind them"
            )
