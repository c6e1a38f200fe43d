"""Options that say how one network is trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from isoshare.search.options.definition import FROZEN, option


class TrainingConfig(BaseModel):
    """One training."""

    model_config = FROZEN
    GROUP: ClassVar = "Training"

    epochs: int = option(15, "The length of a training.", metavar="N", ge=0, le=10**6)
    batch_size: int = option(64, "Images per step.", metavar="N", ge=1, le=2**20)
    optimizer: Literal["sgd", "adamw"] = option("sgd", "How weights are updated.")
    learning_rate: float = option(
        0.1, "The peak of the learning rate schedule.", metavar="X", gt=0, le=10**6
    )
    label_smoothing: float = option(
        0.0, "The share of a label that is spread over all classes.", metavar="X", ge=0, lt=1
    )
    augment: Literal["auto", "none", "standard"] = option(
        "auto",
        "Shift training images, and mirror those that are known to show the same then; standard: "
        "mirror those of a folder too.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "auto: bfloat16 where the device gains from it."
    )
    loss: str | None = option(
        help="Of a data set of your own: package.module:function of outputs and targets.",
        metavar="F",
        shown="cross-entropy, or the mean squared error",
        min_length=1,
    )
    metric: str | None = option(
        help="Of a data set of your own: package.module:function of all outputs and targets, a "
        "number or several by name.",
        metavar="F",
        shown="accuracy or loss",
        min_length=1,
    )
    compile: bool = option(False, "Compile each network; pays for long trainings.")
