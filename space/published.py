"""PUBLISHED: networks and sharing plans as the papers printed them, with what they count.

The counts are the papers' own, or counted by running the authors' code; tests build every network
and plan and count again. One more is one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isoshare.space.backbones import Argument
from isoshare.space.patterns import (
    ORTHOGONAL,
    Pattern,
    basis,
    dense_basis,
    generator,
    inverted,
    kernels,
    later_blocks,
    mixed_regulators,
    shared_filters,
    unshared,
)
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import Site


@dataclass(frozen=True)
class Published:
    """One published network with its plan.

    network, sharing: what they are called; plan: the plan for the sites of the built backbone;
    unshared, shared: trainable parameters. reading: what of it is our reading, and not the paper's.
    """

    paper: str
    network: str
    sharing: str
    backbone: str
    arguments: Mapping[str, Argument]
    classes: int
    unshared: int
    shared: int
    plan: Pattern
    reading: str = ""

    @property
    def title(self) -> str:
        """The network and what it shares."""
        return f"{self.network}: {self.sharing}"

    @property
    def label(self) -> str:
        """The sharing pattern with its authors, whatever the network: for plots."""
        return f"{self.sharing} ({self.paper.partition(',')[0]})"

    @property
    def build_arguments(self) -> dict[str, Argument]:
        """All arguments of the backbone."""
        return {**self.arguments, "classes": self.classes}


KERNELS = "Azadbakht et al. 2022, arXiv 2210.14151"
ANCHORS = "Huang et al. 2019, arXiv 1904.09764"
BASES = "Kang and Kim 2021, arXiv 2006.05066"
SLICES = "Omidvar et al. 2019, arXiv 1906.04309"
SPIKES = "Kheradpisheh et al. 2022, arXiv 2109.13208"

IMAGENET = {"orthogonal_unique": False}
"""On CIFAR-100 and ImageNet the unique filters take no part in the loss."""

ONE_MORE = (
    "the paper's plot fits two more regulators than convolutions that share; where they are is not "
    "published"
)

RANKS_DIFFER = (
    "they print 5.08 M for S64U4; their code counts that for S16U1, with a fourth basis that it "
    "never uses (5,084,504). Only what is used is counted here"
)

PUBLISHED: tuple[Published, ...] = (
    Published(
        paper=KERNELS,
        network="ConvMixer-256/16",
        sharing="all kernels",
        backbone="convmixer",
        arguments={"width": 256, "depth": 16, "kernel": 9, "patch": 1},
        classes=10,
        unshared=1_409_034,
        shared=107_274,
        plan=kernels(),
    ),
    Published(
        paper=KERNELS,
        network="SE-ResNet with 2 blocks a stage",
        sharing="kernels of stages 2 and 3",
        backbone="se_resnet",
        arguments={"blocks": 2},
        classes=10,
        unshared=2_771_290,
        shared=1_296_730,
        plan=kernels("stages.1.", "stages.2."),
    ),
    Published(
        paper=KERNELS,
        network="SE-ResNet with 2 blocks a stage",
        sharing="all kernels",
        backbone="se_resnet",
        arguments={"blocks": 2},
        classes=10,
        unshared=2_771_290,
        shared=1_223_002,
        plan=kernels(),
    ),
    Published(
        paper=ANCHORS,
        network="DACNN14 plain",
        sharing="all kernels",
        backbone="dacnn_plain",
        arguments={"depth": 14},
        classes=100,
        unshared=1_790_820,
        shared=167_396,
        plan=kernels(),
    ),
    Published(
        paper=ANCHORS,
        network="DACNN18 plain",
        sharing="all kernels",
        backbone="dacnn_plain",
        arguments={"depth": 18},
        classes=100,
        unshared=2_380_004,
        shared=168_164,
        plan=kernels(),
    ),
    Published(
        paper=ANCHORS,
        network="DACNN34 plain",
        sharing="all kernels",
        backbone="dacnn_plain",
        arguments={"depth": 34},
        classes=100,
        unshared=4_743_396,
        shared=172_260,
        plan=kernels(),
    ),
    Published(
        paper=ANCHORS,
        network="DACNN18 plain",
        sharing="all kernels, a regulator at each layer",
        backbone="dacnn_plain",
        arguments={"depth": 18},
        classes=100,
        unshared=2_380_004,
        shared=430_308,
        plan=kernels(method="anchored"),
        reading=ONE_MORE,
    ),
    Published(
        paper=ANCHORS,
        network="DACNN34 plain",
        sharing="all kernels, a regulator at each layer",
        backbone="dacnn_plain",
        arguments={"depth": 34},
        classes=100,
        unshared=4_743_396,
        shared=696_548,
        plan=kernels(method="anchored"),
        reading=ONE_MORE,
    ),
    Published(
        paper=ANCHORS,
        network="DACNN18 mix",
        sharing="all kernels",
        backbone="dacnn_mix",
        arguments={"depth": 18},
        classes=100,
        unshared=11_223_972,
        shared=4_918_244,
        plan=kernels(),
    ),
    Published(
        paper=ANCHORS,
        network="DACNN18 mix",
        sharing="all kernels, a regulator in each block",
        backbone="dacnn_mix",
        arguments={"depth": 18},
        classes=100,
        unshared=11_223_972,
        shared=5_614_564,
        plan=mixed_regulators,
    ),
    Published(
        paper=SPIKES,
        network="Fashion-MNIST network",
        sharing="all weights with its spiking network",
        backbone="fashion_cnn",
        arguments={},
        classes=10,
        unshared=19_599_744,
        shared=19_599_744,
        plan=unshared,
    ),
    Published(
        paper=BASES,
        network="ResNet-32",
        sharing="basis S8U1",
        backbone="resnet_cifar",
        arguments={"depth": 32, "shortcut": "pad"},
        classes=10,
        unshared=464_154,
        shared=150_666,
        plan=basis(8, 1),
    ),
    Published(
        paper=BASES,
        network="ResNet-32",
        sharing="basis S16U1, double",
        backbone="resnet_cifar",
        arguments={"depth": 32, "shortcut": "pad"},
        classes=10,
        unshared=464_154,
        shared=245_642,
        plan=basis(16, 1, double=True),
    ),
    Published(
        paper=BASES,
        network="ResNet-56",
        sharing="basis S16U1",
        backbone="resnet_cifar",
        arguments={"depth": 56, "shortcut": "pad"},
        classes=10,
        unshared=853_018,
        shared=270_842,
        plan=basis(16, 1),
    ),
    Published(
        paper=BASES,
        network="ResNet-34 for CIFAR-100",
        sharing="basis S16U1",
        backbone="resnet_small_images",
        arguments={"depth": 34},
        classes=100,
        unshared=21_328_292,
        shared=6_485_844,
        plan=basis(16, 1, **IMAGENET),
    ),
    Published(
        paper=BASES,
        network="ResNet-34 for ImageNet",
        sharing="basis S48U1, double",
        backbone="resnet34",
        arguments={},
        classes=1000,
        unshared=21_797_672,
        shared=11_786_968,
        plan=basis(48, 1, double=True, **IMAGENET),
    ),
    Published(
        paper=BASES,
        network="ResNet-50",
        sharing="3x3 kernels of later blocks",
        backbone="resnet50",
        arguments={},
        classes=1000,
        unshared=25_557_032,
        shared=20_506_664,
        plan=later_blocks("2", **ORTHOGONAL),
    ),
    Published(
        paper=BASES,
        network="ResNet-50",
        sharing="3x3 and last 1x1 kernels of later blocks",
        backbone="resnet50",
        arguments={},
        classes=1000,
        unshared=25_557_032,
        shared=18_262_056,
        plan=later_blocks("2", "3", **ORTHOGONAL),
    ),
    Published(
        paper=BASES,
        network="ResNet-101",
        sharing="3x3 kernels of later blocks",
        backbone="resnet101",
        arguments={},
        classes=1000,
        unshared=44_549_160,
        shared=29_471_784,
        plan=later_blocks("2", **ORTHOGONAL),
    ),
    Published(
        paper=BASES,
        network="MobileNetV2",
        sharing="expansion kernels of later blocks",
        backbone="mobilenet_v2_expanded",
        arguments={},
        classes=1000,
        unshared=3_507_272,
        shared=3_243_080,
        plan=inverted(),
    ),
    Published(
        paper=BASES,
        network="MobileNetV2",
        sharing="expansion and projection kernels of later blocks",
        backbone="mobilenet_v2_expanded",
        arguments={},
        classes=1000,
        unshared=3_507_272,
        shared=2_978_888,
        plan=inverted(projections=True),
    ),
    Published(
        paper=BASES,
        network="DenseNet-121 for CIFAR-100",
        sharing="basis S64U4",
        backbone="cifar_densenet121",
        arguments={},
        classes=100,
        unshared=7_048_548,
        shared=5_532_980,
        plan=dense_basis(64, 4),
        reading=RANKS_DIFFER,
    ),
    Published(
        paper=BASES,
        network="DenseNet-121 for CIFAR-100",
        sharing="basis S16U1",
        backbone="cifar_densenet121",
        arguments={},
        classes=100,
        unshared=7_048_548,
        shared=5_066_072,
        plan=dense_basis(16, 1),
        reading=RANKS_DIFFER,
    ),
    Published(
        paper=BASES,
        network="ResNeXt-50 for CIFAR-100",
        sharing="basis S64U4, read by the next convolution",
        backbone="resnext50_filters",
        arguments={"shared_rank": 64, "unique_rank": 4},
        classes=100,
        unshared=19_964_676,
        shared=19_333_380,
        plan=shared_filters,
        reading="unshared is each block with filters of its own; their ResNeXt-50 has 23,177,124",
    ),
    Published(
        paper=SLICES,
        network="ResNet-20",
        sharing="generator [16,16,3,3]-72",
        backbone="resnet_cifar",
        arguments={"depth": 20},
        classes=10,
        unshared=269_722,
        shared=176_698,
        plan=generator(16, 72),
    ),
    Published(
        paper=SLICES,
        network="ResNet-56",
        sharing="generator [16,16,3,3]-128",
        backbone="resnet_cifar",
        arguments={"depth": 56},
        classes=10,
        unshared=853_018,
        shared=347_162,
        plan=generator(16, 128),
    ),
    Published(
        paper=SLICES,
        network="DenseNet-BC-40-36",
        sharing="generator [12,12,3,3]-72",
        backbone="densenet_bc",
        arguments={"depth": 40, "growth": 36},
        classes=10,
        unshared=1_542_682,
        shared=842_842,
        plan=generator(12, 72),
    ),
    Published(
        paper=SLICES,
        network="ResNet-50",
        sharing="generator [16,16,3,3]-128",
        backbone="resnet50",
        arguments={},
        classes=1000,
        unshared=25_557_032,
        shared=15_163_432,
        plan=generator(16, 128),
    ),
)


def references(backbone: str, sites: Sequence[Site]) -> dict[str, SharingPlan]:
    """The published plans of a backbone, whatever its arguments, by their labels.

    sites: those of the backbone as it is built here.
    """
    found: dict[str, SharingPlan] = {}
    name = backbone.removeprefix("torchvision.models:")
    for row in PUBLISHED:
        plan = row.plan(sites) if row.backbone == name else SharingPlan()
        if plan.banks and plan not in found.values():
            found[row.label] = plan
    return found
