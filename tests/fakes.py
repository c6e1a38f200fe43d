"""Fakes small enough to run a whole search in a moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.evaluators.evaluator import Evaluator, Measured
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.search.config import SearchConfig
from isoshare.search.engine import Engine
from isoshare.search.samplers import sampler_row
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.apply import count_parameters
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import Bank, SharingPlan, Split
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site, find_sites, searched_sites
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord

MakeEngine = Callable[..., Engine]
Command = Callable[..., tuple[int, str, str]]
"""Runs a command with these arguments: its exit code, and what it said on stdout and stderr."""


def first_options() -> dict[str, dict[str, Any]]:
    """For each method options that are worth trying on sites of 8→8 3x3: the first of each."""
    sites = [Site(name, (3, 3), 8, 8) for name in ("a", "b")]
    return {
        method: {
            option: values[0] for option, values in row.implementation.option_values(sites).items()
        }
        for method, row in METHODS.items()
    }


class ThreeSites(nn.Module):
    """The smallest backbone with something to share: three equal convolutions and a head."""

    def __init__(self, sites: int = 3, bias: bool = False) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv2d(2, 2, 3, padding=1, bias=bias) for _ in range(sites))
        )
        self.head = nn.Linear(2, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 2, height, width)."""
        logits: Tensor = self.head(torch.mean(self.convs(x), dim=(2, 3)))
        return logits


@dataclass
class FakeEvaluator(Evaluator):
    """An evaluator that computes its values from the plan: less sharing is better, plus noise.

    latency: whether it measures that too; broken: fingerprints of plans that fail;
    measured: what was asked for, in order.
    """

    latency: bool = False
    broken: set[str] = field(default_factory=set)
    measured: list[tuple[str, int, Split]] = field(default_factory=list)

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        for seed in seeds:
            self.measured.append((plan.fingerprint, seed, split))
            if plan.fingerprint in self.broken:
                raise EvaluationError("the loss became nan in epoch 1")
            noise = random.Random(f"{plan.fingerprint} {seed} {split}").gauss(0, 0.01)
            saved = sum(len(bank.sites) - 1 for bank in plan.banks)
            values = {"accuracy": 0.9 - 0.03 * saved + noise}
            values |= {"latency": 1 + abs(noise)} if self.latency else {}
            for rung in rungs:  # there is less to be seen early on
                early = {"accuracy": values["accuracy"] * (0.5 + 0.05 * rung)}
                yield [Measured(seed, early, 0.5, rung)]
            yield [Measured(seed, values, 0.5)]


def conv(module: nn.Module, name: str) -> nn.Conv2d:
    """The convolution of this name."""
    found = module.get_submodule(name)
    assert isinstance(found, nn.Conv2d)
    return found


def sites_of(network: nn.Module) -> tuple[Site, ...]:
    """Those that a search decides on."""
    return searched_sites(find_sites(network), count_parameters(network))


def space_of(sites: int) -> SearchSpace:
    """The space of one isomorphic group."""
    return SearchSpace(sites_of(ThreeSites(sites)), 18 * 2 * sites + 30)


def space_with_costs(sites: int, methods: Sequence[str] = ("kernel",)) -> SearchSpace:
    """The same, which also knows what an image of 2x8x8 costs.

    With bases of one filter, if any, which cost less of everything than so small a kernel.
    """
    network = ThreeSites(sites)
    found = sites_of(network)
    basis = Bank("filter_basis", {"shared_rank": 1}, tuple(site.name for site in found))
    known = {"basis": SharingPlan((basis,))} if "filter_basis" in methods else {}
    costs = replace(
        network_costs(network, found, torch.zeros(1, 2, 8, 8)), measured={"latency": 1.0}
    )
    return SearchSpace(found, count_parameters(network), methods, known, costs)


def create_study(store: Store, space: Space, config: SearchConfig) -> StudyRecord:
    """A stored study named "study"."""
    return create_named_study(store, "study", space, config)


def create_named_study(store: Store, name: str, space: Space, config: SearchConfig) -> StudyRecord:
    """A stored study."""
    study = study_record(name, config, space, DatasetRecord("fake", "0" * 16))
    store.create_study(study)
    return study


def engine_for(store: Store, study: StudyRecord, config: SearchConfig, space: Space) -> Engine:
    """The engine of a study, with the sampler that its configuration names."""
    return Engine(store, study, config, space, sampler_row(config.sampler).make)
