"""Measure a plan by inheritance: start from the trained unshared network in place of fresh weights.

The unshared network is trained once for a search (or comes from the user's own file); a plan takes
its weights over by projection, is brought close to what it computed, and is fine-tuned for a few
epochs, or none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.evaluator import Measured
from isoshare.evaluators.inheriting.output_matching import input_statistics, match_outputs
from isoshare.evaluators.inheriting.weight_projection import calibrate, fisher, inherit
from isoshare.evaluators.sensitivities.site_statistics import SiteStatistics
from isoshare.evaluators.training.batches import device
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.distillation import DistilledTraining, Teacher
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.trainer import Report, TrainingRun, train
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.space.plan import SharingPlan, Split
from isoshare.space.weights.trained_weights import GivenWeights
from isoshare.space.weights.weight_files import file_digest

FINE_TUNING_RATE = 0.2
"""The peak of the learning rate in fine-tuning, as a part of that in training from scratch."""


@dataclass(frozen=True)
class Trained:
    """The weights of the unshared network and how much its loss depends on each kernel."""

    state: dict[str, Tensor]
    importance: dict[str, Tensor]


@dataclass
class _Kept:
    """What an evaluator has made once: the unshared network, which travels with it; the inputs of
    its sites, and the network that it has projected last, by the fingerprint of its plan, which do
    not.
    """

    trained: Trained | None = None
    inputs: dict[str, SiteStatistics] | None = None
    network: tuple[str, nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"trained": self.trained, "inputs": None, "network": None}


@dataclass(frozen=True)
class InheritingEvaluator(TrainingEvaluator):
    """Projection of a trained network, then ``settings.epochs`` of fine-tuning.

    pretrain_epochs: how long the unshared network is trained. Instead its weights may be given:
    weights, weight_map, new_head, pretrained: as in ``GivenWeights``. With a new head the network
    is trained for ``pretrain_epochs`` from there. distill: whether fine-tuning also learns what the
    unshared network answers; distill_temperature, distill_weight: as in ``Teacher``.
    """

    pretrain_epochs: int = 30
    weights: str | None = None
    weight_map: str | None = None
    new_head: bool = False
    pretrained: bool = False
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

    def prepare(self, report: Report | None = None) -> None:
        """Train the unshared network, or read it, so that it travels with the evaluator.

        Raises WeightsError or EvaluationError.
        """
        self.weights_digest  # noqa: B018  travels too: elsewhere the file may be missing
        if self._kept.trained is None:
            self._kept.trained = self._obtain(report)

    @property
    def trained(self) -> Trained:
        """The unshared network; trained now if ``prepare`` was not called."""
        if self._kept.trained is None:
            self._kept.trained = self._obtain(None)
        return self._kept.trained

    @property
    def training_settings(self) -> TrainingSettings:
        """Fine-tuning is shorter and gentler than training from scratch."""
        rate = self.settings.learning_rate * FINE_TUNING_RATE
        return replace(self.settings, learning_rate=rate)

    @property
    def conditions(self) -> dict[str, Any]:
        """How the unshared network came to its weights."""
        known: dict[str, Any] = {"pretrain_epochs": self.pretrain_epochs, "weights": self.weights}
        if self.distill:
            known |= {"temperature": self.distill_temperature, "distilled": self.distill_weight}
        if not self.given:
            return known
        return {**known, "weights_digest": self.weights_digest, "new_head": self.new_head}

    def seconds(self, seeds: int) -> float | None:
        """Unknown until the unshared network is there: it would have to be trained first."""
        return None if self._kept.trained is None else super().seconds(seeds)

    def training(self, networks: Sequence[nn.Module], seeds: Sequence[int]) -> TrainingRun:
        """Fine-tuning, by labels alone or with the unshared network as teacher."""
        if not self.distill:
            return super().training(networks, seeds)
        network = self.unshared().to(device())
        teacher = Teacher(network, self.distill_temperature, self.distill_weight)
        asked = (networks, self.train_batches, self.training_settings, seeds)
        return DistilledTraining(*asked, teacher=teacher)

    @cached_property
    def weights_digest(self) -> str:
        """Of the file that was given; empty if there is none."""
        return file_digest(Path(self.weights)) if self.weights else ""

    @property
    def given(self) -> GivenWeights:
        """Where the weights of the unshared network come from; false if it is to be trained."""
        return GivenWeights(self.weights, self.weight_map, self.new_head, self.pretrained)

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
        source = self.unshared()
        with torch.random.fork_rng():  # for generators that stay random
            torch.manual_seed(seed)
            network, _ = inherit(source, plan, self.trained.importance)
        self._check_size(network, source, plan)
        for one in (network, source):
            one.to(device())
        if plan.banks:
            match_outputs(network, source, plan, self._inputs(source))
        calibrate(network, self.train_batches)
        return network

    def unshared(self) -> nn.Module:
        """The trained network that plans inherit from, in evaluation mode."""
        source = self._backbone()
        source.load_state_dict(self.trained.state)
        return source.eval()

    def _inputs(self, source: nn.Module) -> dict[str, SiteStatistics]:
        if self._kept.inputs is None:
            self._kept.inputs = input_statistics(source, self.train_batches)
        return self._kept.inputs

    def _backbone(self) -> nn.Module:
        return super().network(SharingPlan(), PRETRAINING_SEED).cpu()

    def _obtain(self, report: Report | None) -> Trained:
        if self.given and not self.new_head:
            return self._trained(self._read())
        return self._pretrain(report)

    def _pretrain(self, report: Report | None) -> Trained:
        settings = self.training_settings if self.given else self.settings
        settings = replace(settings, epochs=self.pretrain_epochs)
        folder = checkpoint_folder("unshared")
        name = self.file_name(SharingPlan(), [PRETRAINING_SEED], settings)
        done = Checkpoint(folder and folder / f"trained-{name}")
        if (kept := done.load()) is not None:
            return Trained(**kept)
        network = self._read() if self.given else self._backbone().to(device())
        under_way = folder and folder / name
        train(
            [network],
            self.train_batches,
            settings,
            [PRETRAINING_SEED],
            report=report,
            checkpoint=under_way,
        )
        found = self._trained(network)
        done.save({"state": found.state, "importance": found.importance})
        Checkpoint(under_way).remove()
        return found

    def _read(self) -> nn.Module:
        """The unshared network with the weights that were given."""
        network = self._backbone()
        found = self.given.read(network, self.backbone, self.arguments)
        network.load_state_dict(found.state)
        return network.to(device())

    def _trained(self, network: nn.Module) -> Trained:
        importance = fisher(network.eval(), self.train_batches)
        state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        return Trained(state, {name: tensor.cpu() for name, tensor in importance.items()})


PRETRAINING_SEED = 0


def is_left_to_chance(network: nn.Module) -> bool:
    """Whether an inherited network depends on its seed: all that is trained has been projected,
    what is frozen is as it was drawn (or as the trained network had it, which does no harm).
    """
    return not all(tensor.requires_grad for tensor in network.parameters())
