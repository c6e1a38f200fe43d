"""Published networks and plans count what their papers say, three times over."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from isoshare.space.apply import apply_plan, count_parameters, extra_loss, plan_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import BackboneError
from isoshare.space.patterns import generator, inverted, kernels, shared_filters
from isoshare.space.published import PUBLISHED, Published
from isoshare.space.sites import find_sites


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.title)
def test_published_counts_are_reproduced(row: Published) -> None:
    backbone = build_backbone(row.backbone, row.build_arguments)
    sites = find_sites(backbone)
    plan = row.plan(sites)
    assert count_parameters(backbone) == row.unshared
    assert plan_parameters(plan, sites, row.unshared) == row.shared
    assert count_parameters(apply_plan(backbone, plan)) == row.shared


def test_filters_that_the_next_convolution_reads_start_orthonormal_together() -> None:
    """Four stages, one average over all their kernels (Kang and Kim 2021, section 3.3)."""
    backbone = build_backbone("resnext50_filters", {"shared_rank": 16, "unique_rank": 4})
    shared = apply_plan(backbone, shared_filters(find_sites(backbone)))
    found = extra_loss(shared)
    assert found is not None
    assert found.item() <= 1e-12


def test_shared_kernels_of_two_kinds_are_averaged_apart() -> None:
    """Shared++ of MobileNetV2: one average of the expansions, one of the projections, added."""
    backbone = build_backbone("mobilenet_v2_expanded", {"classes": 10})
    plan = inverted(projections=True)(find_sites(backbone))
    shared: Any = apply_plan(backbone, plan).requires_grad_(False)
    averages: list[Any] = []
    for widens in (True, False):
        kernels = [shared.get_submodule(bank.sites[0]).weight.flatten(1) for bank in plan.banks]
        chosen = [rows for rows in kernels if (len(rows) > rows.shape[1]) == widens]
        squares = [(rows @ rows.mT - torch.eye(len(rows))).square() for rows in chosen]
        averages.append(sum(one.sum() for one in squares) / sum(one.numel() for one in squares))
    assert len(plan.banks) == 8
    assert extra_loss(shared) == pytest.approx(10 * float(sum(averages)), rel=1e-4)


def test_what_is_our_reading_says_so() -> None:
    """Where a paper prints another count than ours, or none."""
    readings = {row.title: row.reading for row in PUBLISHED if row.reading}
    assert {title.partition(":")[0] for title in readings} == {
        "DACNN18 plain",
        "DACNN34 plain",
        "DenseNet-121 for CIFAR-100",
        "ResNeXt-50 for CIFAR-100",
    }
    assert all("plot" in text or "," in text for text in readings.values()), "their figures too"


def test_a_small_network_does_not_pay_a_large_generator_back() -> None:
    """ResNet-20 with codes of 128 is larger than without."""
    backbone = build_backbone("resnet_cifar", {"depth": 20})
    sites, unshared = find_sites(backbone), count_parameters(backbone)
    assert unshared == 269_722
    assert plan_parameters(generator(16, 128)(sites), sites, unshared) == 312_218


@pytest.mark.parametrize("rank", [2, 12, 256])
def test_filters_come_in_groups(rank: int) -> None:
    with pytest.raises(BackboneError, match="must be a power of two from 4"):
        build_backbone("resnext50_filters", {"shared_rank": rank})


@pytest.mark.parametrize("width", [8, 24])
@pytest.mark.parametrize("depth", [1, 5])
@pytest.mark.parametrize("kernel", [3, 8])
def test_convmixer_follows_the_formula(width: int, depth: int, kernel: int) -> None:
    """P = (3p²d + d) + 2d + dw·(k²d + d) + pw·(d² + d) + depth·4d + (d+1)·classes."""
    arguments = {"width": width, "depth": depth, "kernel": kernel, "patch": 2, "classes": 7}
    backbone = build_backbone("convmixer", arguments)
    sites = find_sites(backbone)
    everything = kernels()(sites)
    for plan_depth, plan in ((depth, None), (1, everything)):
        network = backbone if plan is None else apply_plan(backbone, plan)
        expected = (
            (12 * width + width)
            + 2 * width
            + plan_depth * (kernel**2 * width + width)
            + plan_depth * (width**2 + width)
            + depth * 4 * width
            + (width + 1) * 7
        )
        assert count_parameters(network) == expected


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_se_resnet_follows_the_formula(blocks: int, shared: bool) -> None:
    """P = 27·16 + 32 + Σ [9·Cin·C + (Cin·C + 2C) + s·9C² + n·4C + n·2C·(C//16)] + 257·classes."""
    backbone = build_backbone("se_resnet", {"blocks": blocks})
    plan = kernels()(find_sites(backbone))
    network = apply_plan(backbone, plan) if shared else backbone
    copies = 1 if shared else 2 * blocks - 1
    expected = 27 * 16 + 32 + 257 * 10
    for before, width in ((16, 64), (64, 128), (128, 256)):
        expected += 9 * before * width + before * width + 2 * width + copies * 9 * width**2
        expected += blocks * 4 * width + blocks * 2 * width * (width // 16)
    assert count_parameters(network) == expected
