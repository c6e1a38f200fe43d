"""Options of a search that goes on, which change what it was launched with."""

from __future__ import annotations

from pydantic import BaseModel

from isoshare.search.options.definition import FROZEN, option


class ResumeConfig(BaseModel):
    """What may change; None leaves it as it was."""

    model_config = FROZEN

    trials: int | None = option(
        help="A new budget, no less than the trials there are.", metavar="N", ge=1, le=2**31
    )
    data_folder: str | None = option(
        help="The folder where the same images are now, if they have moved.",
        metavar="DIR",
        min_length=1,
    )
    evaluator: str | None = option(
        help="A function of your own that measures plans, as it stands in the study: only code "
        "that you name is imported.",
        metavar="E",
        min_length=1,
    )
    dataset: str | None = option(
        help="A data set of your own, as it stands in the study, named for the same reason.",
        metavar="D",
        min_length=1,
    )
    loss: str | None = option(help="A loss of your own.", metavar="F", min_length=1)
    metric: str | None = option(help="A metric of your own.", metavar="F", min_length=1)
    backbone: str | None = option(
        help="A backbone of your own, as it stands in the file or study: only code that you name "
        "is imported.",
        metavar="B",
        min_length=1,
    )
