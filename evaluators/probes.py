"""PROBES: objectives that are measured on the built network, whatever its weights.

``Probed`` adds them to what an evaluator measures, so that no evaluator has to know of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

from isoshare.evaluators.evaluator import AS_IT_IS, Evaluator, Measured, Pretraining
from isoshare.evaluators.training.batches import threads_for_now
from isoshare.evaluators.training.trainer import Report
from isoshare.space.apply import apply_plan
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.plan import SharingPlan, Split, Variant

WARM_UP = 3
LEAST, MOST = 11, 101
"""Timed inferences: at least and at most so many."""
SECONDS = 0.2
"""After so long, no more than the least."""


def latency(network: nn.Module, image: Tensor) -> float:
    """Milliseconds for ``image`` (1, channels, height, width): the median of repeated inferences
    on one thread of this machine's processor, after some that are not counted.
    """
    network.eval()
    with threads_for_now(1), torch.no_grad():
        for _ in range(WARM_UP):
            network(image)
        return 1000 * median(_durations(network, image))


Probe = Callable[[nn.Module, Tensor], float]
PROBES: dict[str, Probe] = {"latency": latency}


def probe(names: Sequence[str], network: nn.Module, image: Tensor) -> dict[str, float]:
    """Those of ``names`` that are probes, measured."""
    return {name: PROBES[name](network, image) for name in names if name in PROBES}


@dataclass(frozen=True)
class Probed(Evaluator):
    """An evaluator that also probes the network of each plan, once a seed.

    image_shape: (channels, height, width).
    """

    evaluator: Evaluator
    names: tuple[str, ...]
    backbone: str
    arguments: Mapping[str, Argument]
    image_shape: tuple[int, ...]

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """As the evaluator, with more values."""
        network = self._network(plan)
        for step in self.evaluator(plan, seeds, split, rungs):
            yield self._with_probes(network, step)

    def together(
        self, plans: Sequence[SharingPlan], seeds: Sequence[int], split: Split
    ) -> Iterator[dict[int, list[Measured]]]:
        """As the evaluator, with more values."""
        for step in self.evaluator.together(plans, seeds, split):
            networks = {place: self._network(plans[place]) for place in step}
            yield {place: self._with_probes(networks[place], some) for place, some in step.items()}

    def most_together(self) -> int:
        """As the evaluator."""
        return self.evaluator.most_together()

    def prepare(
        self, report: Report | None = None, variants: Collection[Variant] = AS_IT_IS
    ) -> None:
        """As the evaluator."""
        self.evaluator.prepare(report, variants)

    def pretraining(self, variants: Collection[Variant] = AS_IT_IS) -> Pretraining | None:
        """As the evaluator."""
        return self.evaluator.pretraining(variants)

    def ending(self, deadline: float | None) -> Probed:
        """As the evaluator."""
        return replace(self, evaluator=self.evaluator.ending(deadline))

    def seconds(self, seeds: int) -> float | None:
        """As the evaluator: probes take moments."""
        return self.evaluator.seconds(seeds)

    def check(self) -> None:
        """As the evaluator."""
        self.evaluator.check()

    def _network(self, plan: SharingPlan) -> nn.Module:
        with torch.random.fork_rng():
            backbone = build_backbone(self.backbone, self.arguments, **dict(plan.variant))
            return apply_plan(backbone, plan, weights="fresh")

    def _with_probes(self, network: nn.Module, step: Sequence[Measured]) -> list[Measured]:
        image = torch.zeros(1, *self.image_shape)
        return [
            replace(one, values={**one.values, **probe(self.names, network, image)}) for one in step
        ]


def _durations(network: nn.Module, image: Tensor) -> list[float]:
    """Seconds of each of ``LEAST`` to ``MOST`` inferences."""
    durations: list[float] = []
    while len(durations) < LEAST or (len(durations) < MOST and sum(durations) < SECONDS):
        started = time.perf_counter()
        network(image)
        durations.append(time.perf_counter() - started)
    return durations
