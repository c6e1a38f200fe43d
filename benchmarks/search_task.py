"""A table of ShareBench as a task for any searcher: plans are measured one by one, and charged."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import cached_property

from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.tabular import TabularEvaluator
from isoshare.search.workflows.preparation.tabular import table_space
from isoshare.space.plan import SharingPlan

PATIENCE = 8
"""Answers from memory in a row after which a random plan is measured, of which the searcher is not
told: without that, one that insists on known plans would never spend its budget."""


class SpentError(Exception):
    """The budget of a search is spent."""


class Task:
    """A table to search: measures plans with one seed, and charges what was not known yet.

    accuracy: as measured, by fingerprint, of plans that were trained to their end.
    """

    def __init__(self, name: str, seed: int, trials: int) -> None:
        self.name = name
        self.table, self.seed, self.trials = Table.load(name), seed, trials
        self.space = table_space(self.table)
        self.epochs = self.table.accuracy("validation").shape[2]
        self.rng = random.Random(seed)
        self.accuracy: dict[str, float] = {}
        self._measure = TabularEvaluator(self.table, seed)
        self._trained: dict[str, int] = {}
        self._ended: list[tuple[str, int]] = []
        self._charged = self._known_in_a_row = 0

    @cached_property
    def starts(self) -> list[SharingPlan]:
        """The plans that every search measures first."""
        return list(dict.fromkeys(self.space.warm_starts().values()))

    @cached_property
    def levels(self) -> dict[str, list[str]]:
        """The answers that plans of the space give, by parameter."""
        found: dict[str, dict[str, None]] = {}
        for plan in self.table.plans:
            for name, answer in self.space.parameters(plan).items():
                found.setdefault(name, {})[answer] = None
        return {name: list(answers) for name, answers in found.items()}

    def plan_of(self, answers: Mapping[str, object]) -> SharingPlan:
        """The plan that answers make; who has only one answer to give need not give it."""
        first = {name: levels[0] for name, levels in self.levels.items()}
        return self.space.suggest(_Answers({**first, **answers}))

    def answers(self, plan: SharingPlan) -> dict[str, str]:
        """One answer to each parameter."""
        given = self.space.parameters(plan)
        return {name: given.get(name, levels[0]) for name, levels in self.levels.items()}

    def size(self, plan: SharingPlan) -> float:
        """Logarithm of the parameters, 0 for the unshared network."""
        return math.log(self.space.trainable_parameters(plan) / self.space.unshared)

    def measure(self, plan: SharingPlan, epochs: int | None = None) -> tuple[float, float]:
        """Share of wrong images after so many epochs, and size. Raises SpentError."""
        epochs = epochs or self.epochs
        if self._trained.get(plan.fingerprint, 0) >= epochs:
            self._known_in_a_row += 1
            if self._known_in_a_row > PATIENCE:
                self.measure(self.new_plan())
        else:
            self._train(plan, epochs)
        measured = next(iter(self._measure(plan, (self.seed,), "validation", (epochs,))))
        accuracy = measured[0].values["accuracy"]
        if epochs == self.epochs:
            self.accuracy[plan.fingerprint] = accuracy
        return 1 - accuracy, self.size(plan)

    def new_plan(self) -> SharingPlan:
        """A random plan that was not trained yet. Raises SpentError when there is none."""
        for _ in range(100):
            plan = self.space.random_plan(self.rng)
            if plan.fingerprint not in self._trained:
                return plan
        left = [plan for plan in self.table.plans if plan.fingerprint not in self._trained]
        if not left:
            raise SpentError
        return self.rng.choice(left)

    def finished(self, trials: int) -> list[str]:
        """Fingerprints of what was trained to its end for no more than so many full trainings."""
        return [one for one, charged in self._ended if charged <= trials * self.epochs]

    def _train(self, plan: SharingPlan, epochs: int) -> None:
        self._charged += epochs - self._trained.get(plan.fingerprint, 0)
        if self._charged > self.trials * self.epochs:
            raise SpentError
        self._known_in_a_row = 0
        self._trained[plan.fingerprint] = epochs
        if epochs == self.epochs:
            self._ended.append((plan.fingerprint, self._charged))


class _Answers:
    """Answers the questions of a space; what is not offered as the first that is."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self._answers = answers

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        answer = self._answers.get(name)
        return str(answer) if answer in choices else choices[0]
