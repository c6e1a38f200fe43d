"""What an evaluator is: it measures plans, and a driver ships it to its workers.

It takes and returns plain values, so that it can run in any process and be replaced by a fake in
tests. Without torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from isoshare.space.plan import SharingPlan, Split, Variant

if TYPE_CHECKING:
    from isoshare.evaluators.training.trainer import Report


@dataclass(frozen=True)
class Measured:
    """What training one plan gave: the measured objectives and the seconds it took since the
    measurement before. epochs: measured on the way, after so many; None: after all of them.
    conditions: of the process that measured, where they may not be those of the driver.
    """

    seed: int
    values: dict[str, float]
    seconds: float
    epochs: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pretraining:
    """Unshared networks that are trained before anything is measured: how many, for how many epochs
    each, and about how long that takes; None: unknown.
    """

    networks: int
    epochs: int
    seconds: float | None


AS_IT_IS: Collection[Variant] = ((),)
"""In place of variants: the backbone as its arguments make it."""


class Evaluator(Protocol):
    """What a driver needs of an evaluator."""

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """Measure ``plan`` once for each seed; yields what is ready, as soon as it is.

        rungs: epochs after which it is measured on the way too, by evaluators that can. Whoever
        takes no more then ends the training there; the same call goes on from there.

        Raises EvaluationError, or whatever the user's network raises.
        """

    def prepare(
        self,
        report: Report | None = None,  # noqa: ARG002  most train nothing
        variants: Collection[Variant] = AS_IT_IS,  # noqa: ARG002
    ) -> None:
        """Do what is needed once for a search, before the evaluator is sent to workers.

        report: hears of each epoch of a training. variants: of the backbone, those that plans may
        be for. Raises IsoshareError or EvaluationError.
        """
        return  # not abstract: most need nothing

    def pretraining(self, variants: Collection[Variant] = AS_IT_IS) -> Pretraining | None:
        """What ``prepare`` would train now; None: nothing. Raises IsoshareError."""
        del variants
        return None

    def check(self) -> None:
        """Raise whatever keeps this process from measuring, before any plan fails for it."""
        return  # not abstract: most need nothing

    def ending(self, deadline: float | None) -> Evaluator:
        """The same, which after ``deadline``, seconds of ``time.time``, measures at each epoch on
        the way, so that the search can end there.
        """
        del deadline
        return self

    def seconds(self, seeds: int) -> float | None:
        """About how long a plan will take with so many seeds, tried out now; None: unknown."""
        del seeds
        return None

    def most_together(self) -> int:
        """How many plans are measured side by side quickest."""
        return 1  # not abstract: most measure one plan at a time

    def together(
        self,
        plans: Sequence[SharingPlan],
        seeds: Sequence[int],
        split: Split,
    ) -> Iterator[dict[int, list[Measured]]]:
        """Measure those of several plans that can be measured side by side, by their places; what
        is ready of all of them, as soon as it is. The others are left to a call for each.
        """
        del plans, seeds, split
        return iter(())

    def for_trial(self, number: int) -> Evaluator:
        """What measures this trial, where that depends on more than its plan."""
        del number
        return self
