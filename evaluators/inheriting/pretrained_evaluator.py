"""The unshared networks that plans inherit from: one of each variant, trained once or given.

They are trained before a search hands out its first trial, by whoever leads it, and travel with the
evaluator: workers never wait for each other, nor train the same network twice. Each is kept in the
cache under all that decides how it ends, and found again by whoever asks for the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.evaluator import AS_IT_IS, Pretraining
from isoshare.evaluators.inheriting.fisher_information import fisher
from isoshare.evaluators.training.checkpoints import Checkpoint, training_file
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.trainer import Report, train
from isoshare.evaluators.training.vmap_ensemble import fitting_threads
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.evaluators.trial_cost import seconds_of_pretraining
from isoshare.space.backbones import Argument
from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.variants.arguments import label
from isoshare.space.weights.trained_weights import GivenWeights, TrainedWeights
from isoshare.space.weights.weight_files import file_digest

FINE_TUNING_RATE = 0.2
"""The peak of the learning rate in fine-tuning, as a part of that in training from scratch."""
PRETRAINING_SEED = 0
Given = Mapping[Variant, TrainedWeights]


@dataclass(frozen=True)
class Trained:
    """The weights of an unshared network and how much its loss depends on each kernel."""

    state: dict[str, Tensor]
    importance: dict[str, Tensor]


@dataclass(frozen=True)
class PretrainedEvaluator(TrainingEvaluator):
    """Knows the trained unshared network of every variant.

    pretrain_epochs: how long one is trained. Instead its weights may be given: weights, weight_map,
    new_head, pretrained: as in ``GivenWeights``; they are those of the variants that they fit,
    others are trained. With a new head a network is trained for ``pretrain_epochs`` from there.
    """

    pretrain_epochs: int = 30
    weights: str | None = None
    weight_map: str | None = None
    new_head: bool = False
    pretrained: bool = False
    _trained: dict[Variant, Trained] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def prepare(
        self, report: Report | None = None, variants: Collection[Variant] = AS_IT_IS
    ) -> None:
        """Train the unshared networks, or read them, so that they travel with the evaluator.

        Raises WeightsError or EvaluationError.
        """
        self.weights_digest  # noqa: B018  travels too: elsewhere the file may be missing
        missing = self._missing(variants)
        given = self._given_for(missing)
        ahead = self._untrained(missing, given)
        for variant in missing:
            done = ahead.index(variant) if variant in ahead else 0
            heard = report and _of_several(report, done, len(ahead))
            self._trained[self._whole(variant)] = self._obtain(variant, given, heard)

    def pretraining(self, variants: Collection[Variant] = AS_IT_IS) -> Pretraining | None:
        """The unshared networks that have no weights yet."""
        missing = self._missing(variants)
        ahead = self._untrained(missing, self._given_for(missing))
        if not ahead:
            return None
        settings = replace(self.settings, epochs=self.pretrain_epochs)
        seconds = seconds_of_pretraining(self, settings, ahead, self._fresh)
        return Pretraining(len(ahead), self.pretrain_epochs, seconds)

    def trained(self, variant: Variant = ()) -> Trained:
        """The unshared network of a variant; trained now if ``prepare`` was not called."""
        self.prepare(variants=(variant,))
        return self._trained[self._whole(variant)]

    def unshared(self, variant: Variant = ()) -> nn.Module:
        """The same as a network, in evaluation mode."""
        source = self._fresh(variant).cpu()
        source.load_state_dict(self.trained(variant).state)
        return source.eval()

    @property
    def training_settings(self) -> TrainingSettings:
        """Fine-tuning is shorter and gentler than training from scratch."""
        rate = self.settings.learning_rate * FINE_TUNING_RATE
        return replace(self.settings, learning_rate=rate)

    @property
    def conditions(self) -> dict[str, Any]:
        """How the unshared network came to its weights."""
        return self._origin(is_given=bool(self.given))

    def seconds(self, seeds: int) -> float | None:
        """Unknown until the unshared network is there: it would have to be trained first."""
        return super().seconds(seeds) if self._whole(()) in self._trained else None

    @cached_property
    def weights_digest(self) -> str:
        """Of the file that was given; empty if there is none."""
        return file_digest(Path(self.weights)) if self.weights else ""

    @property
    def given(self) -> GivenWeights:
        """Where weights of an unshared network come from; false if all are to be trained."""
        return GivenWeights(self.weights, self.weight_map, self.new_head, self.pretrained)

    def _given_for(self, variants: Collection[Variant]) -> Given:
        return self.given.fitting(self.backbone, self.arguments, variants)

    def _missing(self, variants: Collection[Variant]) -> list[Variant]:
        return [one for one in variants if self._whole(one) not in self._trained]

    def _untrained(self, variants: Sequence[Variant], given: Given) -> list[Variant]:
        """Those of ``variants`` that have to be trained."""
        wanted = [one for one in variants if self.new_head or one not in given]
        return [one for one in wanted if not self._files(one, given)[0].is_there]

    def _whole(self, variant: Variant) -> Variant:
        """All arguments of the backbone: plans of it name some of them, or none."""
        return tuple(sorted(self._arguments(variant).items()))

    def _arguments(self, variant: Variant) -> dict[str, Argument]:
        return {**self.arguments, **dict(variant)}

    def _fresh(self, variant: Variant) -> nn.Module:
        return TrainingEvaluator.network(self, SharingPlan(variant=variant), PRETRAINING_SEED)

    def _origin(self, *, is_given: bool) -> dict[str, Any]:
        known: dict[str, Any] = {"pretrain_epochs": self.pretrain_epochs, "weights": None}
        if is_given:
            known |= {"weights": self.weights, "weights_digest": self.weights_digest}
            known |= {"new_head": self.new_head}
        return known

    def _files(self, variant: Variant, given: Given) -> tuple[Checkpoint, Path | None]:
        """Where the trained network of a variant is kept, and where its training goes on."""
        folder = checkpoint_folder("unshared")
        name = training_file(
            *(SharingPlan(), self.backbone, self._arguments(variant), self.dataset.fingerprint),
            *(asdict(self._pretraining(variant, given)), [PRETRAINING_SEED]),
            self._origin(is_given=variant in given),
        )
        return Checkpoint(folder and folder / f"trained-{name}"), folder and folder / name

    def _pretraining(self, variant: Variant, given: Given) -> TrainingSettings:
        """How the network of a variant is trained: gently if only its head is new."""
        settings = self.training_settings if variant in given else self.settings
        return replace(settings, epochs=self.pretrain_epochs)

    def _obtain(self, variant: Variant, given: Given, report: Report | None) -> Trained:
        network = self._fresh(variant)
        if variant in given:
            network.load_state_dict(given[variant].state)
            if not self.new_head:
                return self._measured(network)
        done, under_way = self._files(variant, given)
        if (kept := done.load()) is not None:
            return Trained(**kept)
        settings, seeds = self._pretraining(variant, given), [PRETRAINING_SEED]
        asked = ([network], self.train_batches, settings, seeds)
        try:
            with fitting_threads(network, self.train_batches.images, settings.batch_size):
                train(*asked, report=report, checkpoint=under_way)
        except EvaluationError as error:
            which = f"{label(variant)}: " if variant else ""
            raise EvaluationError(f"{which}{error}") from error
        found = self._measured(network)
        done.save({"state": found.state, "importance": found.importance})
        Checkpoint(under_way).remove()
        return found

    def _measured(self, network: nn.Module) -> Trained:
        importance = fisher(network.eval(), self.train_batches)
        state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        return Trained(state, {name: tensor.cpu() for name, tensor in importance.items()})


def _of_several(report: Report, before: int, trainings: int) -> Report:
    """``report``, to which so many trainings of one length, of which some are over, are one."""

    def heard(epoch: int, epochs: int, values: Mapping[str, float]) -> bool | None:
        return report(before * epochs + epoch, trainings * epochs, values)

    return heard
