"""Published networks and plans count what their papers say, three times over."""

from __future__ import annotations

import pytest

from isoshare.space.apply import apply_plan, count_parameters, extra_loss, plan_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import BackboneError
from isoshare.space.patterns import kernels, shared_filters
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
