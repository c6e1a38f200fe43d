"""Who proposes the next plan: warm starts, then the sampler, then chance, then a walk.

Optuna's study lives in memory and is rebuilt from our own trials, so there is one truth. The
sampler is seeded for each proposal by study, trial number and attempt: a resumed search proposes
what the uninterrupted one would have.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.trial import FixedTrial, TrialState

from isoshare.search.config import SearchConfig
from isoshare.search.constraints import exact_limits, fits, nearest_plan
from isoshare.search.samplers import optuna_sampler, reseed, sampler_row
from isoshare.search.samplers.history import History
from isoshare.search.search_state import SearchState
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.storage.records import TrialRecord

REPEATS_IN_A_ROW = 8
"""So many known plans in a row, and the next plan is drawn at random instead."""
RANDOM_DRAWS = 200
"""So many plans drawn at random of which none may be proposed, and the space is walked through."""
WALK = 20_000
"""So many plans are looked at on that walk."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Proposal:
    """A plan, who proposed it, and what Optuna must see again when the search is resumed."""

    plan: SharingPlan
    origin: str
    memory: dict[str, Any]

    def trial(self, number: int, exact: dict[str, float], remaining: float | None) -> TrialRecord:
        """The trial that is begun with it. remaining: what may still be gained."""
        return TrialRecord(
            number=number,
            plan=self.plan,
            origin=self.origin,
            state="running",
            exact=exact,
            proposal={**self.memory, "remaining": remaining},
            attempts=1,
        )


class Proposer:
    """Proposes plans that are new, and learns from those that have ended.

    ledger: the trials, which it looks at and never changes; those of an earlier run are taken up.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: SearchConfig,
        search_state: SearchState,
    ) -> None:
        self._space = space
        self._config = config
        self._limits = exact_limits(config.document())
        self._search_state = search_state
        self._history = History(
            space, search_state.axes, self._fits, search_state.is_new, search_state.trials
        )
        row = sampler_row(config.sampler)
        self._plans = None if row.plans is None else row.plans(self._history)
        self._study = optuna.create_study(
            sampler=optuna_sampler(config.sampler, config.seed),
            directions=[axis.direction for axis in search_state.axes],
        )
        self._number_there: dict[int, int] = {}
        for trial in search_state.trials.values():
            self._restore(trial)

    def propose(self, number: int) -> Proposal | None:
        """A new plan for trial ``number``; None if none is left."""
        for origin, trial, plan in self._candidates(number):
            if not self._may_be_proposed(plan):
                # Told as failed, it leaves the sampler's knowledge as it is.
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            self._number_there[number] = trial.number
            frozen = self._study.get_trials(deepcopy=False)[trial.number]
            memory = {"params": dict(frozen.params), "system_attrs": dict(frozen.system_attrs)}
            return Proposal(plan, origin, memory)
        return None

    def remaining(self) -> float | None:
        """What may still be gained, as a share of the hypervolume; None if the sampler cannot
        tell."""
        return None if self._plans is None else self._plans.remaining()

    def tell(self, trial: TrialRecord) -> None:
        """A trial has ended; one that was stopped may still go on."""
        if trial.state == "stopped":
            return
        there, values = self._number_there[trial.number], self._search_state.values(trial)
        if values is None:
            self._study.tell(there, state=TrialState.FAIL)
            return
        frozen = self._study.get_trials(deepcopy=False)[there]
        asked = optuna.Trial(self._study, frozen._trial_id)
        for name, much in self._search_state.violation(trial).items():
            asked.set_constraint(name, much)
        self._study.tell(asked, values, TrialState.COMPLETE)

    def _restore(self, trial: TrialRecord) -> None:
        """Take up a trial of an earlier run; one without values has failed or is under way."""
        values = self._search_state.values(trial)
        params = trial.proposal["params"]
        try:
            self._space.suggest(fixed := FixedTrial(params))
        except ValueError:  # told in the words of an earlier version
            params = self._space.parameters(trial.plan)
            self._space.suggest(fixed := FixedTrial(params))
        is_open = trial.state in ("running", "stopped")
        ended = TrialState.FAIL if values is None else TrialState.COMPLETE
        self._number_there[trial.number] = len(self._study.get_trials(deepcopy=False))
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING if is_open else ended,
                values=values,
                params=params,
                distributions=fixed.distributions,
                system_attrs=trial.proposal["system_attrs"],
                constraints=None if values is None else self._search_state.violation(trial),
            )
        )

    def _candidates(self, number: int) -> Iterator[tuple[str, optuna.Trial, SharingPlan]]:
        """Plans from the best source to the last resort; known ones among the sampler's."""
        for origin, plan in self._warm_starts.items():
            if self._may_be_proposed(plan):
                yield origin, *self._ask_for(plan)
        if self._plans is None:
            yield from self._of_optuna(number)
        else:
            chosen = self._plans.propose(random.Random(self._stream(number, 0)))
            if chosen is not None:
                yield "sampler", *self._ask_for(chosen)
        rng = random.Random(self._stream(number, REPEATS_IN_A_ROW))
        for _ in range(RANDOM_DRAWS):
            plan = self._space.random_plan(rng)
            if self._may_be_proposed(plan):
                yield "random", *self._ask_for(plan)
        for plan in filter(self._may_be_proposed, self._walk()):
            yield "walk", *self._ask_for(plan)

    @cached_property
    def _warm_starts(self) -> dict[str, SharingPlan]:
        return self._space.warm_starts()

    def _of_optuna(self, number: int) -> Iterator[tuple[str, optuna.Trial, SharingPlan]]:
        """What a sampler that knows only vectors proposes, known plans among it; one that insists
        on a plan is not asked a third time.
        """
        before = None
        for attempt in range(REPEATS_IN_A_ROW):
            reseed(self._study.sampler, self._stream(number, attempt))
            trial = self._study.ask()
            plan = self._space.suggest(trial)
            yield "sampler", trial, plan
            if plan == before:
                return
            before = plan

    def _walk(self) -> Iterator[SharingPlan]:
        """All plans of a small space; of a larger one those around the smallest plan, or one that
        keeps the constraints, step by step outwards, never over a constraint.
        """
        if self._space.count() <= WALK:
            yield from self._space.plans()
            return
        start = self._start
        seen, waiting = {start}, deque([start])
        while waiting and len(seen) < WALK:
            plan = waiting.popleft()
            yield plan
            for neighbour in self._space.neighbours(plan):
                if neighbour not in seen and self._fits(neighbour):
                    seen.add(neighbour)
                    waiting.append(neighbour)

    @cached_property
    def _start(self) -> SharingPlan:
        """Where the walk begins."""
        if not self._limits:
            return self._space.smallest_plan
        return nearest_plan(self._limits, self._space)

    def _may_be_proposed(self, plan: SharingPlan) -> bool:
        return self._search_state.is_new(plan) and self._fits(plan)

    def _fits(self, plan: SharingPlan) -> bool:
        """Whether the plan keeps the constraints: known before anything is trained."""
        return fits(self._limits, self._space, plan)

    def _ask_for(self, plan: SharingPlan) -> tuple[optuna.Trial, SharingPlan]:
        """Make Optuna propose this plan."""
        self._study.enqueue_trial(self._space.parameters(plan))
        trial = self._study.ask()
        return trial, self._space.suggest(trial)

    def _stream(self, number: int, attempt: int) -> int:
        """A seed of its own for each attempt, unrelated to those of neighbouring trials."""
        words = np.random.SeedSequence((self._config.seed, number, attempt)).generate_state(1)
        return int(words[0])
