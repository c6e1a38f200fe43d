"""Measure a plan by inheritance: start from the trained unshared network in place of fresh weights.

The unshared network of each variant is trained once for a search, or comes from the user's own file
(pretrained_evaluator.py); a plan takes its weights over by projection, is brought close to what it
computed, and is fine-tuned for a few epochs, or none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.inheriting.channel_alignment import TrainedNetwork, aligned
from isoshare.evaluators.inheriting.pretrained_evaluator import PretrainedEvaluator
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit
from isoshare.evaluators.sensitivities.output_matching import (
    BATCH,
    IMAGES,
    input_statistics,
    match_outputs,
)
from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics
from isoshare.evaluators.training.batches import device
from isoshare.evaluators.training.distillation import DistilledTraining, Teacher
from isoshare.evaluators.training.trainer import TrainingRun
from isoshare.evaluators.training.vmap_ensemble import TrainedAsOne
from isoshare.space.plan import SharingPlan, Split, Variant


@dataclass
class _Kept:
    """What an evaluator has made last, and does not travel with it: the inputs of the sites of an
    unshared network, by its variant, and the network that it has projected, by the fingerprint of
    its plan.
    """

    inputs: tuple[Variant, dict[str, SiteStatistics]] | None = None
    network: tuple[str, nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"inputs": None, "network": None}


@dataclass(frozen=True)
class InheritingEvaluator(PretrainedEvaluator):
    """Projection of a trained network, then ``settings.epochs`` of fine-tuning.

    distill: whether fine-tuning also learns what the unshared network answers;
    distill_temperature, distill_weight: as in ``Teacher``.
    """

    distill: bool = False
    distill_temperature: float = 4.0
    distill_weight: float = 0.9
    _kept: _Kept = field(default_factory=_Kept, init=False, repr=False, compare=False)

    def __call__(
        self, plan: SharingPlan, seeds: Sequence[int], split: Split, rungs: Sequence[int] = ()
    ) -> Iterator[list[Measured]]:
        """Fine-tune once for each seed: seeds differ in the order of the images alone.

        Without fine-tuning all seeds are the same, and one measurement stands for all of them.
        """
        if self.settings.epochs:
            yield from super().__call__(plan, seeds, split, rungs)
            return
        for batch in super().__call__(plan, seeds[:1], split):
            first = batch[0]
            yield [replace(first, seed=seed) for seed in seeds]

    @property
    def conditions(self) -> dict[str, Any]:
        """How the unshared network came to its weights, and how much it teaches."""
        if not self.distill:
            return super().conditions
        taught = {"temperature": self.distill_temperature, "distilled": self.distill_weight}
        return {**super().conditions, **taught}

    def training(
        self,
        networks: Sequence[nn.Module],
        seeds: Sequence[int],
        variant: Variant = (),
        as_one: TrainedAsOne | None = None,
    ) -> TrainingRun:
        """Fine-tuning, by labels alone or with the unshared network as teacher."""
        if not self.distill:
            return super().training(networks, seeds, variant, as_one)
        network = self.unshared(variant).to(device())
        teacher = Teacher(network, self.distill_temperature, self.distill_weight)
        asked = (networks, self.train_batches, self.training_settings, seeds, as_one)
        return DistilledTraining(*asked, teacher=teacher)

    def network(self, plan: SharingPlan, seed: int) -> nn.Module:
        """The network of ``plan`` with the weights it inherits.

        It is made once for all seeds, unless something in it is left to chance.
        """
        last = self._kept.network
        if last is not None and last[0] == plan.fingerprint:
            return copy.deepcopy(last[1])
        network = self._inherited(plan, seed)
        if not is_left_to_chance(network):
            self._kept.network = plan.fingerprint, copy.deepcopy(network)
        return network

    def _inherited(self, plan: SharingPlan, seed: int) -> nn.Module:
        known = self._suited(plan)
        with torch.random.fork_rng():  # for generators that stay random
            torch.manual_seed(seed)
            network, _ = inherit(known.network, plan, known.importance)
        self._check_size(network, known.network, plan)
        for one in (network, known.network):
            one.to(device())
        match_outputs(network, known.network, plan, known.inputs, importance=known.importance)
        calibrate(network, self.train_batches)
        return network

    def _suited(self, plan: SharingPlan) -> TrainedNetwork:
        """The unshared network, with hidden channels in an order that suits ``plan``."""
        source = self.unshared(plan.variant)
        importance = self.trained(plan.variant).importance
        if not plan.banks:
            return TrainedNetwork(source, importance, {})
        inputs = self._inputs(source, plan.variant)
        images, _ = next(self.train_batches.first(BATCH, BATCH))
        return aligned(TrainedNetwork(source.cpu(), importance, inputs), plan, images.cpu())

    def _inputs(self, source: nn.Module, variant: Variant) -> dict[str, SiteStatistics]:
        if self._kept.inputs is None or self._kept.inputs[0] != variant:
            batches = self.train_batches.first(IMAGES, BATCH)
            self._kept.inputs = variant, input_statistics(source.to(device()), batches)
        return self._kept.inputs[1]


def is_left_to_chance(network: nn.Module) -> bool:
    """Whether an inherited network depends on its seed: all that is trained has been projected,
    what is frozen is as it was drawn (or as the trained network had it, which does no harm).
    """
    return not all(tensor.requires_grad for tensor in network.parameters())
