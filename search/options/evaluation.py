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
        "trained unshared network; spiking, a spiking network trained through it; or "
        "package.module:function of your own.",
        metavar="E",
    )
    pretrain_epochs: int = option(
        30, "inherit: how long the unshared network is trained.", metavar="N", ge=1, le=10**6
    )
    weights: str | None = option(
        help="inherit: a state_dict of your own, in place of that training.",
        metavar="FILE",
        min_length=1,
    )
    time_steps: int = option(15, "spiking: the number of time steps.", metavar="N", ge=1, le=10**4)
    replicates: int = option(
        2, "Trainings per plan, each with its own seed.", metavar="N", ge=1, le=10**4
    )
