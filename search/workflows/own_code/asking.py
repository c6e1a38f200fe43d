"""Trials by hand: whoever asks for one measures it as they like, and tells."""

from __future__ import annotations

import time
import weakref
from contextlib import ExitStack
from typing import Any

from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.own_code.trial import EvaluateError, Trial, as_values
from isoshare.evaluators.user_function import UserFunction, remove_folder, trial_folder
from isoshare.search.jobs import Job
from isoshare.search.workflows.own_code.optimize import opened
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.space.errors import IsoshareError, one_of, short
from isoshare.storage.store import Store


class Asking:
    """Runs a study for as long as it lives: nobody else writes to it meanwhile."""

    def __init__(self, prepared: Prepared, store: Store) -> None:
        assert isinstance(prepared.evaluator, UserFunction), "only such a study is asked by hand"
        self._name, self._measure = prepared.study.name, prepared.evaluator
        stack = ExitStack()
        self._engine = stack.enter_context(opened(prepared, store))
        self._asked_at: dict[int, float] = {}
        self.close = weakref.finalize(self, stack.close)

    def ask(self) -> Trial:
        """The next trial; one that a killed process has left comes first. Raises IsoshareError."""
        self._engine.trials = len(self._engine.search_state) + 1
        job = self._engine.ask()
        if job is None:
            raise IsoshareError(f"study {self._name!r} has no more plans: all have been asked for")
        self._asked_at[job.number] = time.perf_counter()
        measure = self._measure.for_trial(job.number)
        return measure.trial(
            job.plan,
            job.seeds[0],
            report=lambda *said: self._report(job, *said),
            wants=lambda epoch: epoch in job.rungs,
        )

    def conclude(self, trial: Trial, values: Any, state: str) -> None:
        """What came of a trial, by its state. Raises IsoshareError, as ``tell`` and ``fail``."""
        if state not in ("finished", "failed"):
            raise IsoshareError(one_of("state", state, ("finished", "failed")))
        if state == "failed":
            self.fail(trial, str(values or "told as failed"))
        else:
            self.tell(trial, values)

    def tell(self, trial: Trial, values: Any) -> None:
        """What a trial gave. Raises IsoshareError; then it is still to be told. Raises DriverError
        where its training shows that the study cannot go on.
        """
        if not self._is_open(trial):
            return
        found = as_values(values, self._measure.objectives, "tell")
        try:
            self._measure.check_used(trial)
        except EvaluateError as error:
            self.fail(trial, str(error))
            return
        self._engine.tell(trial.number, [Measured(trial.seed, found, self._since(trial.number))])
        self._clear(trial)

    def fail(self, trial: Trial, reason: str) -> None:
        """A trial gave nothing."""
        if self._is_open(trial):
            try:
                self._engine.fail(trial.number, reason)
            finally:
                if not self._engine.runs(trial.number):
                    self._clear(trial)

    def _report(self, job: Job, values: dict[str, float], epoch: int) -> bool:
        if epoch not in job.rungs:
            return False
        measured = Measured(job.seeds[0], values, self._since(job.number), epoch)
        return self._engine.tell(job.number, [measured])

    def _is_open(self, trial: Trial) -> bool:
        """Whether something is to be told; a trial that was stopped has ended already."""
        if not isinstance(trial, Trial):
            raise IsoshareError(f"what is told is a trial that ask gave, got {short(trial)}")
        if not trial.should_stop() and not self._engine.runs(trial.number):
            raise IsoshareError(
                f"trial {trial.number} has been told, or was asked for by another study object: "
                "ask again"
            )
        return not trial.should_stop()

    def _since(self, number: int) -> float:
        return time.perf_counter() - self._asked_at[number]

    def _clear(self, trial: Trial) -> None:
        trial.made = None  # it may hold the memory of an accelerator
        remove_folder(trial_folder(self._measure.folder, trial.number, trial.seed))
