"""Knowledge distillation: a network also learns what a trained one answers.

Hinton, Vinyals, Dean 2015, arXiv 1503.02531: beside the labels, the answers of the teacher to the
same augmented images, softened by a temperature T: w T² KL(teacher || student) + (1 - w) CE.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare.evaluators.training.trainer import TrainingRun
from isoshare.evaluators.training.vmap_ensemble import Stack, worth_stacking


@dataclass(frozen=True)
class Teacher:
    """Who is learned from.

    network: trained, in evaluation mode. temperature: by which logits are divided. weight: of its
    answers, from 0, labels alone, to 1.
    """

    network: nn.Module
    temperature: float = 4.0
    weight: float = 0.9


@dataclass
class DistilledTraining(TrainingRun):
    """A training beside whose labels stand the answers of a teacher."""

    teacher: Teacher = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        network = self.teacher.network
        small = worth_stacking(network, self.data.images, self.settings.batch_size)
        self._answers = Stack([network], self.settings.precision, small=small)

    def loss_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """As ever, with the answers of the teacher to these very images."""
        together = self.data.normalised(images).flatten(0, 1)
        with torch.no_grad():
            self._wanted = self._answers.trained(together[None])[0]
        return super().loss_of(images, labels)

    def mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (seeds, batch, classes), a scalar."""
        temperature, weight = self.teacher.temperature, self.teacher.weight
        distance = functional.kl_div(
            functional.log_softmax(logits.flatten(0, 1) / temperature, -1),
            functional.log_softmax(self._wanted / temperature, -1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - weight) * super().mean_loss(logits, labels) + weight * temperature**2 * distance
