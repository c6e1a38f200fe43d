"""Sites are read from any module; what cannot share is left out with a reason."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from isoshare.space.backbones import build_backbone
from isoshare.space.sites import Site, describe, find_sites, isomorphic_groups, left_private


def names(sites: tuple[Site, ...]) -> list[str]:
    return [site.name for site in sites]


def test_sites_come_in_module_order_with_their_shapes() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, (1, 5), groups=4))
    first, second = find_sites(module)
    assert first == Site("0", (3, 3), 3, 8, 1, bias=True)
    assert second == Site("2", (1, 5), 8, 8, 4, bias=True)
    assert first.parameters == 3 * 8 * 9 + 8 == sum(p.numel() for p in module[0].parameters())
    assert second.parameters == sum(p.numel() for p in module[2].parameters())


def test_stride_padding_and_dilation_do_not_matter_shapes_and_groups_do() -> None:
    module = nn.Sequential(
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 8, 5),
        nn.Conv2d(8, 4, 3),
        nn.Conv2d(8, 8, 3, groups=2),
    )
    groups = isomorphic_groups(find_sites(module))
    assert [names(group) for group in groups] == [["0", "1"], ["2", "5"]]


def test_the_module_itself_may_be_a_convolution() -> None:
    assert names(find_sites(nn.Conv2d(1, 1, 1))) == [""]


def tied() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    module[1].weight = module[0].weight
    return module


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(2, 2, 3))
    return module.requires_grad_(False)


@pytest.mark.parametrize(
    ("module", "private", "reason"),
    [
        (nn.Sequential(nn.Conv1d(2, 2, 3)), ["0"], "two-dimensional"),
        (nn.Sequential(nn.Conv3d(2, 2, 3)), ["0"], "two-dimensional"),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 3)), ["0"], "two-dimensional"),
        (nn.Sequential(nn.LazyConv2d(2, 3)), ["0"], "lazy"),
        (nn.Sequential(weight_norm(nn.Conv2d(2, 2, 3))), ["0"], "computed"),
        (tied(), ["0", "1"], "already tied"),
        (frozen(), ["0"], "frozen"),
    ],
)
def test_what_cannot_share_is_left_private_with_a_reason(
    module: nn.Module, private: list[str], reason: str
) -> None:
    assert [name for name, _ in left_private(module)] == private
    assert all(reason in why for _, why in left_private(module))
    assert not set(private) & set(names(find_sites(module)))


def test_a_convolution_under_two_names_is_one_site() -> None:
    conv = nn.Conv2d(2, 2, 3)
    assert names(find_sites(nn.ModuleDict({"a": conv, "b": conv}))) == ["a"]


def test_resnet_has_the_groups_of_the_paper() -> None:
    groups = isomorphic_groups(find_sites(build_backbone("resnet_cifar", {"depth": 20})))
    assert [len(group) for group in groups] == [6, 5, 5]
    assert describe(groups[1][0]) == "stages.1.0.conv2 is 32→32 3x3"
