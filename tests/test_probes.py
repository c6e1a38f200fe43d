"""Probes: what is measured on the built network beside what an evaluator gives."""

from __future__ import annotations

import time
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from isoshare.evaluators import EVALUATORS
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.evaluators.probes import LEAST, PROBES, WARM_UP, Probed, latency, probe
from isoshare.space.plan import SharingPlan
from tests.fakes import FakeEvaluator


class Slow(nn.Module):
    """Sleeps, the first calls longer, and remembers under what conditions it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, bool, int]] = []
        self.took: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        """x: anything."""
        self.calls.append((self.training, torch.is_grad_enabled(), torch.get_num_threads()))
        start = time.perf_counter()
        time.sleep(0.05 if len(self.calls) <= WARM_UP else 0.02)
        self.took.append(time.perf_counter() - start)
        return x


def test_latency_is_that_of_a_warm_network_on_one_thread() -> None:
    network, threads = Slow(), torch.get_num_threads()
    found = latency(network, torch.zeros(1))
    assert found == pytest.approx(1000 * median(network.took[WARM_UP:]), rel=0.1)
    assert len(network.calls) == WARM_UP + LEAST
    assert set(network.calls) == {(False, False, 1)}
    assert torch.get_num_threads() == threads


def test_probes_are_added_to_what_an_evaluator_measures_for_each_seed() -> None:
    plan, inner = SharingPlan(), FakeEvaluator()
    arguments = {"depth": 8, "width": 2}
    probed = Probed(inner, ("latency",), "resnet_cifar", arguments, (3, 8, 8))
    before = torch.get_rng_state()
    steps = list(probed(plan, (0, 1), "validation"))
    assert torch.equal(torch.get_rng_state(), before)
    assert [one.seed for step in steps for one in step] == [0, 1]
    for (mine,), (theirs,) in zip(steps, FakeEvaluator()(plan, (0, 1), "validation"), strict=True):
        assert mine.values["accuracy"] == theirs.values["accuracy"]
        assert mine.values["latency"] > 0


def test_every_objective_is_exact_or_has_somebody_who_measures_it() -> None:
    measured = {name for name, row in OBJECTIVES.items() if row.exact is None}
    assert measured == {*PROBES}.union(*(row.measures for row in EVALUATORS.values()))
    assert probe(["accuracy"], Slow(), torch.zeros(1)) == {}
