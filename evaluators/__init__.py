"""How good a plan is: data sets, training and the objectives that are measured.

EVALUATORS, one row each, is read without torch. One more evaluator is one module with a class that
is an ``Evaluator`` (evaluators/evaluator.py) and one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoshare.evaluators.evaluator import Evaluator


@dataclass(frozen=True)
class EvaluatorRow:
    """One row of EVALUATORS.

    constructor: "module:Class"; imported on first use, called with backbone name, its arguments,
        Dataset, TrainingSettings, and the options by name.
    summary: what it does, in a few words.
    measures: the objectives that it measures.
    options: options of the search that are its own. unused: those that others use and it does not.
    instead: of its own options, one that takes the place of another: {"file": "epochs"}.
    defaults: options of the search whose defaults are others with this evaluator.
    least_epochs: how many epochs it must be given.
    tests: whether it can measure on test images too. any_data: whether it trains on data of the
        user's own, of any kind, too.
    """

    constructor: str
    summary: str
    measures: tuple[str, ...] = ("accuracy",)
    options: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    least_epochs: int = 1
    tests: bool = True
    any_data: bool = False

    @property
    def make(self) -> Callable[..., Evaluator]:
        """The class itself (imports torch)."""
        module, _, name = self.constructor.partition(":")
        return cast("Callable[..., Evaluator]", getattr(import_module(module), name))


EVALUATORS: dict[str, EvaluatorRow] = {
    "train": EvaluatorRow(
        "isoshare.evaluators.training_evaluator:TrainingEvaluator",
        "short training from scratch",
        any_data=True,
    ),
    "inherit": EvaluatorRow(
        "isoshare.evaluators.inheriting.inheriting_evaluator:InheritingEvaluator",
        "from the trained unshared network",
        options=(
            *("pretrain_epochs", "weights", "weight_map", "new_head", "pretrained"),
            *("distill", "distill_temperature", "distill_weight"),
        ),
        instead={"weights": "pretrain_epochs", "pretrained": "pretrain_epochs"},
        defaults={"epochs": 1},
        least_epochs=0,
        any_data=True,
    ),
    "spiking": EvaluatorRow(
        "isoshare.evaluators.spiking:SpikingEvaluator",
        "a spiking network, trained through the plan's network",
        measures=("accuracy", "spikes"),
        options=("time_steps",),
        unused=("label_smoothing", "precision", "compile"),
        # For trainings of some hundred steps (docs/decisions.md); the paper's 0.0001 is for 60,000.
        defaults={"optimizer": "adamw", "learning_rate": 0.01},
    ),
}


OWN = "own"
"""What an evaluator or a data set is called that only a caller in Python has."""
WHOLE = 10**6
"""Epochs that stand for a whole evaluation by a function of the user's own, which alone knows how
long it trains; what it reports on the way has fewer."""
OWN_ROW = EvaluatorRow(
    "isoshare.evaluators.user_function:UserFunction",
    "a function of your own, package.module:function",
    measures=(),
    unused=(
        *("epochs", "dataset", "subset", "resolution", "channels", "data_folder", "validation"),
        *("batch_size", "optimizer", "learning_rate", "label_smoothing", "augment"),
        *("precision", "compile", "loss", "metric"),
    ),
    defaults={"dataset": OWN, "replicates": 1, "epochs": WHOLE},
    tests=False,
)
"""The row of every evaluator of the user's own: it measures whatever it returns."""


USUAL = ("accuracy", "loss")
"""What is measured on data of the user's own where they give no metric."""
CODE = ("evaluator", "dataset", "loss", "metric")
"""Options that may name code of the user's own, package.module:function, beside the backbone."""
NOT_FOR_OWN_DATA = (
    *("resolution", "channels", "data_folder", "augment", "compile"),
    *("distill", "distill_temperature", "distill_weight", "solve_first"),
)
"""Options that mean nothing for a data set of the user's own."""


def is_own_evaluator(name: str) -> bool:
    """Whether an evaluator is a function of the user's own, which naming it would import."""
    return name == OWN or ":" in name


def is_own_dataset(name: str) -> bool:
    """Whether a data set is made by a function of the user's own: neither a name nor a folder."""
    module, colon, function = name.partition(":")
    named = all(part.isidentifier() for part in (*module.split("."), function))
    return bool(colon) and named and module != "folder"


def code_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Those of a search's options that name code of the user's own, beside the backbone."""
    given = {name: str(options[name]) for name in CODE if options.get(name)}
    return {
        name: value
        for name, value in given.items()
        if (is_own_dataset(value) if name == "dataset" else ":" in value)
    }


def evaluator_row(name: str) -> EvaluatorRow:
    """The row of an evaluator; KeyError if there is none."""
    return OWN_ROW if is_own_evaluator(name) else EVALUATORS[name]


def uses(evaluator: str, option: str) -> bool:
    """Whether this evaluator makes use of this option of the search."""
    if any(option in row.options for row in EVALUATORS.values()):
        return option in evaluator_row(evaluator).options
    return option not in evaluator_row(evaluator).unused


def users(option: str) -> list[str]:
    """The evaluators that use this option of the search: one that belongs to some of them is
    theirs, any other is everybody's who does not say otherwise.
    """
    owners = [name for name, row in EVALUATORS.items() if option in row.options]
    return owners or [name for name, row in EVALUATORS.items() if option not in row.unused]
