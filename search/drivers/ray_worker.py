"""The workers of a search: processes of their own, on any nodes of a cluster, and their number.

Importing this needs Ray alone, so that a worker can say in a sentence what its node lacks.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from isoshare.search.drivers.versions import other_versions

if TYPE_CHECKING:
    from isoshare.evaluators.evaluator import Evaluator
    from isoshare.search.drivers.results import Result
    from isoshare.search.engine import Engine
    from isoshare.search.jobs import Job

IDLE_SECONDS, REFUSING_SECONDS = 0.1, 1.0
"""How long a worker without a job waits before it asks again, and one that wants none."""


class WorkerPool(tune.search.Searcher):
    """Says when Tune shall start a worker: until there are enough that can measure."""

    def __init__(self, engine: Engine, workers: int) -> None:
        super().__init__()
        self._engine, self.wanted = engine, workers
        self._there = 0
        self.refusing: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """One more worker, none now, or none any more."""
        if self._engine.done:
            return self.FINISHED
        if self._there - len(self.refusing) >= self.wanted:
            return None
        self._there += 1
        return {}

    def spares_one(self) -> bool:
        """Whether a worker is too many, as one that refused may have come up elsewhere; it ends."""
        too_many = self._there - len(self.refusing) > self.wanted
        self._there -= too_many
        return too_many

    def on_trial_complete(self, *given: Any, **options: Any) -> None:
        """A worker ends with the search: there is nothing to do."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given; the database is the state


class Worker(tune.Trainable):
    """One process that measures the plans it is handed. It never raises: a failure is a result.

    Where nothing can be measured it refuses, and keeps its place so that no other comes there.
    """

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        measure: list[ray.ObjectRef[Evaluator]],
        threads: int,
        versions: Mapping[str, str],
    ) -> None:
        """Called by Tune in the new process.

        measure: refers to what measures, in the object store, once.
        versions: those of the driver.
        """
        self._jobs: Sequence[Job] = ()
        self._results: Iterator[Result] | None = None
        self._stop = False
        self._pause = 0.0
        self._refusal = other_versions(versions) or self._equip(measure[0], threads)

    def assign(self, jobs: Sequence[Job], stop: bool) -> None:
        """Take the next jobs; none to wait for one, ``stop`` to end."""
        self._jobs, self._stop = jobs, stop
        self._results = None

    def step(self) -> dict[str, Any]:
        """Work on the jobs until there is something to tell."""
        if self._stop:
            return {"done": True}
        if not self._jobs:
            return self._idle()
        if self._results is None:
            from isoshare.search.drivers.results import results_of

            self._results = results_of(self._jobs, self._measure)
        result = next(self._results)
        here = [
            replace(one, conditions={**one.conditions, **self._here}) for one in result.measured
        ]
        return {"result": replace(result, measured=here)}

    def _equip(self, measure: ray.ObjectRef[Evaluator], threads: int) -> str:
        """Take what measures; why that cannot be done here, or nothing."""
        try:
            from isoshare.evaluators.training.batches import use_threads
            from isoshare.evaluators.training.conditions import device_conditions

            use_threads(threads)
            self._measure = ray.get(measure)
            self._measure.check()
            self._here = device_conditions()
        except Exception as error:  # whatever is missing here
            return f"{type(error).__name__}: {error}"
        return ""

    def _idle(self) -> dict[str, Any]:
        time.sleep(self._pause)
        self._pause = REFUSING_SECONDS if self._refusal else IDLE_SECONDS
        if not self._refusal:
            return {"idle": True}
        node = ray.get_runtime_context().get_node_id()
        return {"refused": self._refusal, "node": node, "name": platform.node()}
