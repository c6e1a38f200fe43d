"""The second phase of a search: the plans on the front are measured on the test images."""

from __future__ import annotations

from collections import deque

from isoshare.evaluators import evaluator_row
from isoshare.search.config import SearchConfig
from isoshare.search.jobs import Job, job_for
from isoshare.search.pareto import Front


class TestPhase:
    """What is left to test; it is planned once, when the front stands.

    There is none where a function of the user's own measures: it alone knows of other data.
    total: how many tests there are, 0 until they are planned.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._config = config
        self._jobs: deque[Job] | None = None
        self.total = 0

    @property
    def is_planned(self) -> bool:
        """Whether the front stands."""
        return self._jobs is not None

    @property
    def left(self) -> int:
        """How many tests nobody has begun."""
        return len(self._jobs or ())

    def queue(self, front: Front) -> deque[Job]:
        """The tests of the plans on ``front`` that are still to be made."""
        if self._jobs is None:
            able = evaluator_row(self._config.evaluator).tests
            members = front.members if able else ()
            jobs = (job_for(self._config, trial, "test") for trial in members)
            self._jobs = deque(job for job in jobs if job.seeds)
            self.total = len(self._jobs)
        return self._jobs
