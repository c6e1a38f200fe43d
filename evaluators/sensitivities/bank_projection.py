"""The kernels that one bank would give its sites, projected from those of the trained network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.evaluators.sensitivities.output_matching import STEPS, is_matched, match_outputs
from isoshare.evaluators.sensitivities.site_statistics import KnownOutput, SiteStatistics
from isoshare.space.apply import apply_plan
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, registered_after


class BankProjection:
    """Projects banks of a trained network, each beside nothing but what its sites need."""

    def __init__(self, network: nn.Module, statistics: Mapping[str, SiteStatistics]) -> None:
        self.network, self.statistics = network, statistics
        self._outputs: dict[str, KnownOutput] = {}

    def kernel(self, site: Site) -> Tensor:
        """The trained one."""
        conv: Any = self.network.get_submodule(site.name)
        kernel: Tensor = conv.weight.detach()
        return kernel

    def kernels(
        self,
        sites: Sequence[Site],
        method: str,
        options: Mapping[str, Any],
        *,
        matched: bool = False,
    ) -> list[Tensor]:
        """Those of a bank of these sites, one for each; matched: moved until outputs agree."""
        alone = nn.ModuleList()
        renamed = []
        for site in sites:
            renamed.append(replace(site, name=str(len(alone))))
            conv = self.network.get_submodule(site.name)
            alone.extend(copy.deepcopy(part) for part in (conv, self._norm(site)))
        bank = Bank(method, options, tuple(site.name for site in renamed))
        parts: list[Any] = [alone.get_submodule(site.name) for site in renamed]
        trained = [part.weight.detach() for part in parts]
        importance = [self._importance(site) for site in sites]
        with torch.random.fork_rng():
            torch.manual_seed(0)  # for generators that stay random
            shared = apply_plan(alone, SharingPlan((bank,)), weights="fresh")
        row = METHODS[method].implementation
        projected = list(row.project(shared, renamed, bank.options, trained, importance))
        if not matched:
            return projected
        names = [site.name for site in renamed]
        pairs = zip(names, sites, strict=True)
        known = {name: self.statistics[site.name] for name, site in pairs if is_matched(site)}
        match_outputs(shared, alone, SharingPlan((bank,)), known, most=STEPS)
        return [row.to_dense(shared.get_submodule(name))[0].detach() for name in names]

    def moved(
        self,
        sites: Sequence[Site],
        method: str,
        options: Mapping[str, Any],
        *,
        matched: bool = False,
    ) -> dict[str, float]:
        """How far the output of each site of one bank moves."""
        return self.errors(sites, self.kernels(sites, method, options, matched=matched))

    def errors(self, sites: Sequence[Site], kernels: Sequence[Tensor]) -> dict[str, float]:
        """How far the output of each site moves if it has one of these kernels."""
        return {
            site.name: self._output(site).error(kernel)
            for site, kernel in zip(sites, kernels, strict=True)
        }

    def _output(self, site: Site) -> KnownOutput:
        """That of the trained kernel, computed once."""
        if site.name not in self._outputs:
            known = self.statistics[site.name]
            self._outputs[site.name] = KnownOutput(known, self.kernel(site))
        return self._outputs[site.name]

    def _norm(self, site: Site) -> nn.Module:
        """The normalisation beside it, where a method may put something."""
        norm = registered_after(self.network, site)
        return norm if isinstance(norm, nn.BatchNorm2d) else nn.Identity()

    def _importance(self, site: Site) -> Tensor:
        """The variance of what each element of the kernel is multiplied with."""
        kernel = self.kernel(site)
        diagonal = self.statistics[site.name].covariance.diagonal(dim1=-2, dim2=-1)
        rows = diagonal.repeat_interleave(site.out_channels // site.groups, 0)
        return rows.view_as(kernel).to(kernel)
