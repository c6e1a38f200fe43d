"""Options that say how a plan is measured."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from isoshare.search.options.definition import FROZEN, option


class EvaluationConfig(BaseModel):
    """One measurement of one plan."""

    model_config = FROZEN
    GROUP: ClassVar = "Evaluation"

    evaluator: str = option(
        "train",
        "How a plan is measured: train, a short training from scratch; inherit, starting from the "
        "trained unshared network (the default with trained weights); spiking, a spiking network "
        "trained through it; or package.module:function of your own.",
        metavar="E",
    )
    pretrain_epochs: int = option(
        30, "inherit: how long the unshared network is trained.", metavar="N", ge=1, le=10**6
    )
    weights: str | None = option(
        help="Trained weights of the unshared network: a file of torch.save or safetensors.",
        metavar="FILE",
        min_length=1,
    )
    weight_map: str | None = option(
        help='With --weights: a JSON file of renamed modules, such as {"conv1": "stem"}.',
        metavar="FILE",
        min_length=1,
    )
    new_head: bool = option(
        False, "With trained weights: leave out a head for another number of classes."
    )
    pretrained: bool = option(
        False, "Take the weights that torchvision, or the function of --backbone, offers."
    )
    distill: bool = option(
        False, "inherit: also learn what the trained unshared network answers to each image."
    )
    distill_temperature: float = option(
        4.0, "With --distill: by which answers are softened.", metavar="X", gt=0, le=1000
    )
    distill_weight: float = option(
        0.9, "With --distill: what answers count beside labels.", metavar="X", gt=0, le=1
    )
    time_steps: int = option(15, "spiking: the number of time steps.", metavar="N", ge=1, le=10**4)
    replicates: int = option(
        2, "Trainings per plan, each with its own seed.", metavar="N", ge=1, le=10**4
    )
