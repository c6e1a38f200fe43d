"""PUBLISHED: networks and sharing plans as the papers printed them, with what they count.

The counts are the papers' own, or counted by running the authors' code; tests build every network
and plan and count again. One more is one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from space.backbones import Argument
from space.plan import Bank, SharingPlan
from space.sites import Site, isomorphic_groups


@dataclass(frozen=True)
class Published:
    """One published network with its plan.

    stages: which isomorphic groups share, by the start of their site names; none means all.
    unshared, shared: trainable parameters.
    """

    paper: str
    title: str
    backbone: str
    arguments: dict[str, Argument]
    classes: int
    unshared: int
    shared: int
    stages: tuple[str, ...] = ()

    def plan(self, sites: Sequence[Site]) -> SharingPlan:
        """One bank for each isomorphic group that shares. sites: of the built backbone."""
        return SharingPlan(
            tuple(
                Bank("kernel", {}, tuple(site.name for site in group))
                for group in isomorphic_groups(sites)
                if not self.stages or group[0].name.startswith(self.stages)
            )
        )


KERNEL_SHARING = "Azadbakht et al. 2022, arXiv 2210.14151"

PUBLISHED: tuple[Published, ...] = (
    Published(
        paper=KERNEL_SHARING,
        title="ConvMixer-256/16, all depthwise and all pointwise kernels shared",
        backbone="convmixer",
        arguments={"width": 256, "depth": 16, "kernel": 9, "patch": 1},
        classes=10,
        unshared=1_409_034,
        shared=107_274,
    ),
    Published(
        paper=KERNEL_SHARING,
        title="SE-ResNet with 2 blocks a stage, stages 2 and 3 shared",
        backbone="se_resnet",
        arguments={"blocks": 2},
        classes=10,
        unshared=2_771_290,
        shared=1_296_730,
        stages=("stages.1.", "stages.2."),
    ),
    Published(
        paper=KERNEL_SHARING,
        title="SE-ResNet with 2 blocks a stage, all stages shared",
        backbone="se_resnet",
        arguments={"blocks": 2},
        classes=10,
        unshared=2_771_290,
        shared=1_223_002,
    ),
)
