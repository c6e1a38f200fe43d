"""An evaluator that trains nothing: it answers from a table of ShareBench."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.evaluators.sharebench import Table, TableError
from isoshare.space.plan import SharingPlan, Split


@dataclass(frozen=True)
class TabularEvaluator(Evaluator):
    """Answers from a table, with one of its seeds a seed, in microseconds.

    first_seed: that of the search. Which seeds of the table stand for it and the next ones is drawn
        for each plan, so that searches which differ in their seed meet different noise. The table
        has only so many: then they come again.
    """

    table: Table
    first_seed: int = 0

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """Yields what the evaluator that made the table would have, at once."""
        row = self.table.place.get(plan.fingerprint)
        if row is None:
            raise TableError(f"plan {plan.fingerprint} is not in the table")
        of_plan = self._accuracy[split][row]
        last = of_plan.shape[1]
        before = 0
        for epoch in [*(rung for rung in sorted(rungs) if rung < last), last]:
            seconds = float(self.table.seconds[row]) * (epoch - before)
            yield [
                Measured(
                    seed,
                    {"accuracy": float(of_plan[self._drawn(plan, seed), epoch - 1])},
                    seconds,
                    epoch if epoch < last else None,
                )
                for seed in seeds
            ]
            before = epoch

    @cached_property
    def _accuracy(self) -> dict[Split, NDArray[np.float64]]:
        return {
            "validation": self.table.accuracy("validation"),
            "test": self.table.accuracy("test"),
        }

    def _drawn(self, plan: SharingPlan, seed: int) -> int:
        count = int(self.table.conditions["seeds"])
        order = list(range(count))
        random.Random(f"{plan.fingerprint} {self.first_seed}").shuffle(order)
        return order[(seed - self.first_seed) % count]
