"""Networks of timm: how far sharing reaches in them, and that all methods build and call them."""

from __future__ import annotations

import os

import pytest
import torch

from benchmarks.timm_networks import NETWORKS, look
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.reach import reach, wide_reach
from isoshare.space.sites import find_sites, searched_sites

ALL = os.environ.get("ISOSHARE_ALL_NETWORKS") == "1"
SLOW = (
    "cait_xxs24_224",
    "coat_tiny",
    "densenet121",
    "efficientformer_l1",
    "fbnetv3_b",
    "inception_v3",
    "inception_v4",
    "maxvit_tiny_rw_224",
    "mobileone_s0",
    "tf_efficientnetv2_s",
)
SOME = ("mixer_s16_224", "regnetx_002")
FAMILIES = [name for name in NETWORKS if name not in SLOW][:44]
BEYOND_CONVOLUTIONS = (
    "convnext_tiny",
    "deit_small_patch16_224",
    "mixer_s16_224",
    "mobilevitv2_100",
    "swin_tiny_patch4_window7_224",
    "vit_small_patch16_224",
)


@pytest.mark.parametrize("name", BEYOND_CONVOLUTIONS)
def test_sharing_reaches_most_of_what_is_no_convolution_of_images(name: str) -> None:
    with torch.device("meta"):
        network = build_backbone("timm:create_model", {"model_name": name})
    assert reach(find_sites(network), count_parameters(network)) >= 0.6


def test_a_generator_reaches_where_shapes_differ() -> None:
    with torch.device("meta"):
        network = build_backbone("timm:create_model", {"model_name": "mobilevit_s"})
    sites, unshared = find_sites(network), count_parameters(network)
    assert reach(sites, unshared) == pytest.approx(0.537, abs=0.001)
    assert wide_reach(searched_sites(sites, unshared), unshared) == pytest.approx(0.88, abs=0.005)


@pytest.mark.parametrize("name", FAMILIES)
def test_kernels_are_shared_in_every_family(name: str) -> None:
    row = look(name, ("kernel",))
    assert row.left["kernel"] == "-" or int(row.left["kernel"]) < row.parameters


@pytest.mark.parametrize("name", NETWORKS if ALL else SOME)
def test_every_method_shares_what_it_can(name: str) -> None:
    row = look(name)
    assert list(row.left) == list(METHODS)
    assert any(isinstance(value, int) and value < row.parameters for value in row.left.values())
