"""The trials of a running search as they stand, and what follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from isoshare.search.config import SearchConfig
from isoshare.search.constraints import limits_of
from isoshare.search.jobs import SEARCHED, Job
from isoshare.search.pareto import (
    Front,
    axes_of,
    comparable,
    pareto_front,
    value_at,
    with_all_values,
)
from isoshare.search.proposals.foresight import Foresight
from isoshare.search.proposals.sampler import History
from isoshare.search.trials.replication import Replication
from isoshare.search.trials.successive_halving import SuccessiveHalving
from isoshare.space.plan import SharingPlan
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord, TrialRecord, TrialState


class SearchState:
    """All trials by number; in memory, it is filled from the store.

    front: of the finished trials; halving and repeats: what they know of the trials.
    """

    def __init__(self, study: StudyRecord, config: SearchConfig) -> None:
        self.axes = axes_of(study)
        self.trials: dict[int, TrialRecord] = {}
        reference = [comparable(axis, axis.reference) for axis in self.axes]
        self.halving = SuccessiveHalving(config.rungs, config.reduction_factor, reference)
        self.repeats = Replication(config.repeats, config.replicates)
        self._limits = limits_of(config.document())
        self._measured = [limit for limit in self._limits if not limit.is_exact]
        self._seed = config.seed
        self._known: set[str] = set()
        self._states: Counter[TrialState] = Counter()
        self.front = self._front_of([])

    def __len__(self) -> int:
        return len(self.trials)

    def fill(self, trials: Sequence[TrialRecord]) -> None:
        """Take up the trials of an earlier run."""
        for trial in trials:
            self.put(trial)
        self.front = self._front_of(trials)

    def put(self, trial: TrialRecord) -> None:
        """A trial that is new, or as it is now."""
        before = self.trials.get(trial.number)
        if before is not None:
            self._states[before.state] -= 1
        self._states[trial.state] += 1
        self.trials[trial.number] = trial
        self._known.add(trial.plan.fingerprint)
        self.repeats.note(trial)
        self._note_rungs(trial)

    def end(self, trial: TrialRecord) -> None:
        """A trial has ended, or a finished one was measured again: the front may be another one."""
        was_finished = self.trials[trial.number].state == "finished"
        self.put(trial)
        # Who is off the front comes back only if a member is measured again.
        if was_finished:
            self.front = self._front_of(list(self.trials.values()))
        else:
            excluded = (self.trials[one.number] for one in self.front.excluded)
            self.front = self._front_of([*self.front.members, *excluded, trial])

    def history(self, space: Space, foresight: Foresight | None = None) -> History:
        """What a sampler sees of the search; it stays up to date."""
        known = (self._limits, self.trials, self.is_new, self._seed, foresight)
        return History(space, self.axes, *known)

    def is_new(self, plan: SharingPlan) -> bool:
        """Whether no trial has this plan."""
        return plan.fingerprint not in self._known

    def counts(self) -> dict[str, int]:
        """How many trials have ended in each way, and how often plans were measured again."""
        ended: tuple[TrialState, ...] = ("finished", "failed", "stopped")
        return {**{state: self.count(state) for state in ended}, "repeats": self.repeats.done}

    def is_to_stop(self, job: Job, is_late: bool) -> bool:
        """Whether a training is late, or has come to a rung and is not among the best there."""
        trial = self.trials[job.number]
        if is_late and trial.state == "running":
            return True
        if trial.state != "running" or not job.rungs or trial.origin not in SEARCHED:
            return False  # what others are compared with is trained to its end
        reached = self.halving.last(job.number)
        return reached in job.rungs and not self.halving.goes_on(job.number, reached)

    def count(self, state: TrialState) -> int:
        """How many trials are in this state."""
        return self._states[state]

    def _note_rungs(self, trial: TrialRecord) -> None:
        """Let plans be compared at each rung at which a trial has all its values."""
        for rung in self.halving.rungs:
            values = [value_at(trial, axis.name, rung) for axis in self.axes]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                pairs = zip(self.axes, known, strict=True)
                self.halving.note(trial.number, rung, [comparable(*pair) for pair in pairs])

    def numbers(self, state: TrialState) -> list[int]:
        """The trials in this state."""
        return [trial.number for trial in self.trials.values() if trial.state == state]

    def recalled(self) -> int | None:
        """A stopped trial that shall go on after all."""
        if not self.count("stopped"):
            return None
        return self.halving.recalled(self.numbers("stopped"))

    def repeating(self, running: Mapping[int, Job]) -> int:
        """How many of these jobs, by trial, measure a plan again with new seeds."""
        numbers = [job.number for job in running.values() if job.split == "validation"]
        return sum(self.trials[number].state == "finished" for number in numbers)

    def repeat(self, spent: int, running: Mapping[int, Job]) -> Job | None:
        """A plan of the front with new seeds, if it is time for one. spent: of the budget."""
        is_due = self.repeats.are_due(spent, self.repeating(running))
        trial = self.repeats.next(self.front, running) if is_due else None
        if trial is None:
            return None
        return Job(trial.number, trial.plan, self.repeats.seeds(trial), "validation")

    def _front_of(self, trials: Sequence[TrialRecord]) -> Front:
        return pareto_front(self.axes, with_all_values(self.axes, trials), self._measured)
