"""Fine-tune a network in 8 bits: it learns to answer as it did before it was rounded.

Quantisation-aware training without labels: the network in floating point is the teacher (Hinton,
Vinyals, Dean 2015, arXiv 1503.02531), so any images do that it may meet.
"""

from __future__ import annotations

from torch import nn

from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.distillation import DistilledTraining, Teacher
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.trainer import Report, finish
from isoshare.evaluators.training.vmap_ensemble import fitting_threads

BATCH, RATE = 64, 1e-4
"""Rate: its peak, of AdamW. With 3e-4 a ResNet-20 that rounding hardly hurts comes out worse."""


def answer_alike(
    student: nn.Module,
    teacher: nn.Module,
    data: Batches,
    epochs: int,
    report: Report | None = None,
) -> None:
    """Train ``student`` in place. Raises EvaluationError when the loss is no longer a number.

    teacher: in evaluation mode. data: its labels are not looked at.
    """
    settings = TrainingSettings(epochs, BATCH, RATE, "adamw", precision="float32")
    training = DistilledTraining(
        [student], data, settings, [0], teacher=Teacher(teacher, weight=1.0)
    )
    with fitting_threads(student, data.images, BATCH):
        finish(training, report, None)
