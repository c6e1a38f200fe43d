"""What is trained before a plan is solved over variants of a backbone: each as it is, and shared.

Both ends are trained for as many epochs, the fully shared one from scratch: a fine-tuning of some
epochs would show how much of the damage it has mended, and not what sharing costs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.evaluator import Pretraining
from isoshare.evaluators.inheriting.pretrained_evaluator import PretrainedEvaluator
from isoshare.evaluators.training.batches import device
from isoshare.evaluators.training.checkpoints import Checkpoint
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import Report, finish
from isoshare.evaluators.training.vmap_ensemble import Forward, fitting_threads, outputs_of
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.evaluators.trial_cost import seconds_of_pretraining
from isoshare.search.solver.variant_solver import Ends
from isoshare.space.plan import SharingPlan, Variant
from isoshare.space.variants.variant_space import Space

SEED = 0


class TrainedVariants:
    """The unshared networks of the variants of a space, and the accuracy of each end of theirs.

    evaluator: knows the unshared networks.
    """

    def __init__(self, evaluator: PretrainedEvaluator, space: Space) -> None:
        self._evaluator = evaluator
        self._settings = replace(evaluator.settings, epochs=evaluator.pretrain_epochs)
        asked = (evaluator.backbone, evaluator.arguments, evaluator.dataset, self._settings)
        self._from_scratch = TrainingEvaluator(*asked)
        self._shared = {
            variant: member.fully_shared_plan() for variant, member in space.members.items()
        }

    def ahead(self) -> Pretraining | None:
        """What ``train`` has still to train."""
        missing = [one for one in self._shared if not self._files(one)[0].is_there]
        unshared = self._evaluator.pretraining(self._shared)
        if not missing:
            return unshared
        seconds = seconds_of_pretraining(self._from_scratch, self._settings, missing, self._fresh)
        if unshared is None:
            return Pretraining(len(missing), self._settings.epochs, seconds)
        known = (seconds, unshared.seconds)
        both = None if None in known else sum(filter(None, known))
        return Pretraining(len(missing) + unshared.networks, self._settings.epochs, both)

    def train(self, report: Report) -> None:
        """Train what is missing, and keep it. Raises WeightsError or EvaluationError."""
        self._evaluator.prepare(report, self._shared)
        for variant in self._shared:
            self._shared_accuracy(variant, report)

    def network(self, variant: Variant) -> nn.Module:
        """The trained unshared network of a variant."""
        return self._evaluator.unshared(variant)

    def ends(self, variant: Variant) -> Ends:
        """What both reach on the validation images."""
        network = self.network(variant).to(device())
        whole = self._accuracy(lambda images: outputs_of(network(images[0]))[0][None])
        return Ends(whole, self._shared_accuracy(variant, None))

    def _shared_accuracy(self, variant: Variant, report: Report | None) -> float:
        done, under_way = self._files(variant)
        if (kept := done.load()) is not None:
            return float(kept["accuracy"])
        network, images = self._fresh(variant), self._evaluator.train_batches.images
        training = self._from_scratch.training([network], [SEED])
        with fitting_threads(network, images, self._settings.batch_size):
            found = self._accuracy(finish(training, report, under_way))
        done.save({"accuracy": found})
        Checkpoint(under_way).remove()
        return found

    def _accuracy(self, forward: Forward) -> float:
        (found,) = accuracy(forward, 1, self._evaluator.held_out["validation"])
        return found

    def _fresh(self, variant: Variant) -> nn.Module:
        """The fully shared network of a variant, as its training begins."""
        return self._from_scratch.network(self._shared[variant], SEED)

    def _files(self, variant: Variant) -> tuple[Checkpoint, Path | None]:
        """Where the accuracy of a fully shared network is kept, and where its training goes on."""
        folder = checkpoint_folder("shared")
        plan: SharingPlan = self._shared[variant]
        name = self._from_scratch.file_name(plan, [SEED], self._settings)
        return Checkpoint(folder and folder / f"measured-{name}"), folder and folder / name
