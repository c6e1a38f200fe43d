"""The networks of benchmarks/at_scale.py: their data, how they come to be trained, their plans.

at_scale         ResNet-20 of width 16 from published weights, images of 32x32 pixels
at_scale_mixer   ConvMixer of width 64 and depth 8, trained from scratch on half of the images
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from benchmarks.projection import of
from benchmarks.projection import plans as hand_made
from isoshare.evaluators.data.splits import AS_IT_IS, DataOptions
from isoshare.evaluators.inheriting.pretrained_evaluator import FINE_TUNING_RATE
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.sites import find_sites, isomorphic_groups

RESULTS = Path(__file__).parent / "results"
UNSHARED = "unshared"
PEAK = 0.05
"""Of the learning rate in fine-tuning a ResNet."""

Plans = dict[str, SharingPlan]


@dataclass(frozen=True)
class Task:
    """name: of its rows and of the folder of plan files in benchmarks/results/, which searches and
    solve have exported. by_hand: plans for a network. settings: of training from scratch, whose
    rate is five times that of fine-tuning. pretrain_epochs: how long the unshared networks are
    trained where no weights are given.
    """

    name: str
    backbone: str
    arguments: Mapping[str, Argument]
    by_hand: Callable[[nn.Module], Plans]
    settings: TrainingSettings
    data: DataOptions = AS_IT_IS
    pretrain_epochs: int = 0

    def plans(self) -> Plans:
        """By name: made by hand, then found."""
        files = sorted((RESULTS / self.name).glob("*.json"))
        found = {file.stem: self._variant_of(PlanFile.load(file)) for file in files}
        return {**self.by_hand(build_backbone(self.backbone, self.arguments)), **found}

    def _variant_of(self, file: PlanFile) -> SharingPlan:
        """The plan, for a network of the arguments that its file has and the task has not."""
        known = file.backbone.arguments if file.backbone else {}
        other = {key: value for key, value in known.items() if self.arguments.get(key) != value}
        return file.plan.of_variant(tuple(other.items()))


def resnet_plans(network: nn.Module) -> Plans:
    """Those of projection.py, and bases for the later stages alone, where most parameters are."""
    *_, middle, last = groups_of(network)
    ranks = [{"shared_rank": shared, "unique_rank": 1} for shared in (48, 64, 32)]
    return {
        **hand_made(network),
        "last stage basis 48/1": of("filter_basis", [last], ranks[0]),
        "last stages basis 64/1 and 32/1": of("filter_basis", [last, middle], *ranks[1:]),
    }


def mixer_plans(network: nn.Module) -> Plans:
    """As the papers share: all of a kind tied, or a basis; and halves, pairs. Thinner and shallower
    networks, which share nothing, are trained from scratch as long as the network itself.
    """
    depthwise, pointwise = groups_of(network)

    def parts(group: list[str], size: int) -> list[list[str]]:
        return [group[start : start + size] for start in range(0, len(group), size)]

    basis = {"shared_rank": 8, "unique_rank": 1}
    return {
        UNSHARED: SharingPlan(),
        "pairs": of("kernel", parts(depthwise, 2) + parts(pointwise, 2)),
        "fours": of("kernel", parts(depthwise, 4) + parts(pointwise, 4)),
        "pointwise in fours": of("kernel", parts(pointwise, 4)),
        "pointwise tied": of("kernel", [pointwise]),
        "tied": of("kernel", [depthwise, pointwise]),
        "pointwise basis 8/1": of("filter_basis", [pointwise], basis),
        "thinner, width 42": SharingPlan(variant=(("width", 42),)),
        "thinner, width 32": SharingPlan(variant=(("width", 32),)),
        "shallower, depth 4": SharingPlan(variant=(("depth", 4),)),
    }


def groups_of(network: nn.Module) -> list[list[str]]:
    """The names of sites that could share, by group."""
    groups = isomorphic_groups(find_sites(network))
    return [[site.name for site in one] for one in groups if len(one) > 1]


TASKS = {
    task.name: task
    for task in (
        Task(
            "at_scale",
            "resnet_cifar",
            {"depth": 20, "shortcut": "pad"},
            resnet_plans,
            TrainingSettings(10, batch_size=128, learning_rate=PEAK / FINE_TUNING_RATE),
        ),
        Task(
            "at_scale_mixer",
            "convmixer",
            # As searches complete them, so that the network that these have trained is found.
            {"classes": 10, "in_channels": 3, "width": 64, "depth": 8, "kernel": 3, "patch": 4},
            mixer_plans,
            TrainingSettings(10, batch_size=64, learning_rate=0.1, augment="standard"),
            DataOptions(subset=25_000),
            pretrain_epochs=20,
        ),
    )
}
