"""What sharing can touch in timm's networks: one of each family, built without memory.

``python benchmarks/timm_networks.py [NAME...]`` prints a table: the network, its parameters, its
reach, that of a generator, for which one kernel size is enough (wide), and for each method what is
left when all that can be shared is shared as far as a search would begin with. Every network is
shared and called on the meta device: its parameters must be what the closed form says, and its
output must keep its shape.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import torchvision_operators
from isoshare.space.methods import METHODS
from isoshare.space.reach import reach, wide_reach
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites, searched_sites

torchvision_operators.declare_missing()
import timm  # noqa: E402  it imports torchvision

NETWORKS = (
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "coat_tiny",
    "coatnet_0_rw_224",
    "convit_tiny",
    "convmixer_768_32",
    "convnext_tiny",
    "convnextv2_nano",
    "crossvit_9_240",
    "cspdarknet53",
    "davit_tiny",
    "deit_small_patch16_224",
    "densenet121",
    "dla34",
    "dm_nfnet_f0",
    "dpn68",
    "edgenext_small",
    "efficientformer_l1",
    "efficientnet_b0",
    "efficientvit_b0",
    "fastvit_t8",
    "fbnetv3_b",
    "gcresnet33ts",
    "gernet_s",
    "ghostnet_100",
    "gmixer_24_224",
    "gmlp_s16_224",
    "hardcorenas_a",
    "hgnet_tiny",
    "hrnet_w18_small",
    "inception_v3",
    "inception_v4",
    "levit_128s",
    "maxvit_tiny_rw_224",
    "mixer_s16_224",
    "mobilenetv3_small_100",
    "mobileone_s0",
    "mobilevit_s",
    "mobilevitv2_100",
    "mvitv2_tiny",
    "nfnet_l0",
    "pit_s_224",
    "poolformer_s12",
    "pvt_v2_b0",
    "regnetx_002",
    "repvgg_a0",
    "res2net50_26w_4s",
    "resmlp_12_224",
    "resnest14d",
    "resnet18",
    "resnext50_32x4d",
    "rexnet_100",
    "selecsls42",
    "semnasnet_075",
    "seresnet50",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "tf_efficientnetv2_s",
    "tnt_s_patch16_224",
    "twins_pcpvt_small",
    "vgg11_bn",
    "visformer_tiny",
    "vit_small_patch16_224",
    "volo_d1_224",
    "wide_resnet50_2",
    "xception41",
    "xcit_tiny_12_p16_224",
)


@dataclass(frozen=True)
class Row:
    """What was found of a network.

    family: the file of timm's that it is in; left: by method, what is left of its parameters, or
    the sentence with which it is refused.
    """

    name: str
    family: str
    parameters: int
    reach: float
    wide: float
    left: dict[str, int | str]
    seconds: float


def look(name: str, methods: Sequence[str] = tuple(METHODS)) -> Row:
    """Build, share and call one network; AssertionError if anything is not what it must be."""
    start = time.perf_counter()
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = timm.create_model(name).eval()
    sites, unshared = find_sites(network), count_parameters(network)
    left = {method: _left(network, method) for method in methods}
    family = type(network).__module__.rpartition(".")[2]
    spent = time.perf_counter() - start
    wide = wide_reach(searched_sites(sites, unshared), unshared)
    return Row(name, family, unshared, reach(sites, unshared), wide, left, spent)


def _left(network: Any, method: str) -> int | str:
    """Parameters when ``method`` shares all it can."""
    sites, unshared = find_sites(network), count_parameters(network)
    space = SearchSpace(sites, unshared, (method,))
    plan = space.fully_shared_plan()
    if not plan.banks:
        return "-"
    with torch.device("meta"):
        shared = apply_plan(network, plan, weights="fresh")
        size = network.default_cfg["input_size"]
        outputs = [one(torch.empty(1, *size)) for one in (network, shared)]
    assert count_parameters(shared) == space.trainable_parameters(plan)
    assert outputs[0].shape == outputs[1].shape
    return count_parameters(shared)


def line(row: Row) -> str:
    """One line of the table."""
    left = (
        value if isinstance(value, str) else f"{value / row.parameters:.0%}"
        for value in row.left.values()
    )
    parts = (
        row.name,
        row.family,
        f"{row.parameters:,}",
        f"{row.reach:.0%}",
        f"{row.wide:.0%}",
        *left,
    )
    return f"| {' | '.join(parts)} |"


def main() -> None:
    """Print the table."""
    heads = ("network", "family", "parameters", "reach", "wide", *METHODS)
    print(f"timm {timm.__version__}, torch {torch.__version__}")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in sys.argv[1:] or NETWORKS:
        print(line(look(name)), flush=True)


if __name__ == "__main__":
    main()
