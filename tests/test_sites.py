"""Sites are read from any module; what cannot share is left out with a reason."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from isoshare.space.backbones import build_backbone
from isoshare.space.reach import reach
from isoshare.space.sites import (
    Site,
    describe,
    find_sites,
    isomorphic_groups,
    left_private,
    searched_sites,
)


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


def test_layers_of_other_kinds_are_sites_and_kinds_stay_apart() -> None:
    module = nn.Sequential(
        nn.Linear(8, 8),
        nn.Conv1d(8, 8, 1),
        nn.Conv2d(8, 8, 1),
        nn.ConvTranspose2d(8, 8, 1),
        nn.Conv3d(8, 4, (1, 2, 3), groups=2),
        nn.ConvTranspose1d(6, 4, 3, groups=2),
        nn.Linear(8, 8, bias=False),
    )
    sites = find_sites(module)
    assert [names(group) for group in isomorphic_groups(sites)] == [["0", "6"]]
    words = ["linear", "1 (1-D)", "1x1", "1x1 transposed", "1x2x3 in 2 groups"]
    said = [describe(site).partition("→")[2].partition(" ")[2] for site in sites]
    assert said == [*words, "3 (1-D) transposed in 2 groups", "linear"]
    assert [site.parameters for site in sites] == [
        sum(tensor.numel() for tensor in layer.parameters()) for layer in module
    ]
    assert reach(sites, 200) == (8 * 8 * 2 + 8) / 200


def test_searches_leave_classifiers_and_little_side_layers_alone() -> None:
    wide, narrow = [nn.Conv2d(64, 64, 3) for _ in range(2)], [nn.Linear(64, 4) for _ in range(2)]
    network = nn.Sequential(*wide, *narrow, nn.Linear(64, 64))
    sites, unshared = find_sites(network), sum(t.numel() for t in network.parameters())
    assert names(searched_sites(sites, unshared)) == ["0", "1"]
    mixer = nn.Sequential(*(nn.Linear(64, 64) for _ in range(3)), nn.Linear(64, 10))
    assert names(searched_sites(find_sites(mixer), 15_000)) == ["0", "1", "2"]


def test_the_module_itself_may_be_a_convolution() -> None:
    assert names(find_sites(nn.Conv2d(1, 1, 1))) == [""]


def tied() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    module[1].weight = module[0].weight
    return module


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(2, 2, 3))
    return module.requires_grad_(False)


def of_two_types() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3).double(), nn.Conv2d(2, 2, 3))


@pytest.mark.parametrize(
    ("module", "private", "reason"),
    [
        (nn.Sequential(nn.Embedding(3, 2)), ["0"], "an embedding"),
        (nn.Sequential(nn.LSTM(2, 2)), ["0"], "a recurrent cell"),
        (nn.Sequential(nn.GRUCell(2, 2)), ["0"], "a recurrent cell"),
        (nn.MultiheadAttention(4, 2), ["", "out_proj"], "attention"),
        (nn.Sequential(nn.LazyLinear(2)), ["0"], "lazy"),
        (nn.Sequential(nn.LazyConv2d(2, 3)), ["0"], "lazy"),
        (nn.Sequential(weight_norm(nn.Conv2d(2, 2, 3))), ["0"], "computed"),
        (tied(), ["0", "1"], "already tied"),
        (frozen(), ["0"], "frozen"),
        (of_two_types(), ["1"], "torch.float64 on cpu, where most are torch.float32 on cpu"),
    ],
)
def test_what_cannot_share_is_left_private_with_a_reason(
    module: nn.Module, private: list[str], reason: str
) -> None:
    assert [name for name, _ in left_private(module)] == private
    assert all(reason in why for _, why in left_private(module))
    assert not set(private) & set(names(find_sites(module)))


def test_a_layer_with_parts_of_its_own_counts_as_a_subclass() -> None:
    plain, other = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
    other.norm = nn.BatchNorm2d(2)  # for its owner to call
    assert [site.subclass for site in find_sites(nn.Sequential(plain, other))] == [False, True]


def test_a_convolution_under_two_names_is_one_site() -> None:
    conv = nn.Conv2d(2, 2, 3)
    assert names(find_sites(nn.ModuleDict({"a": conv, "b": conv}))) == ["a"]


def test_resnet_has_the_groups_of_the_paper() -> None:
    groups = isomorphic_groups(find_sites(build_backbone("resnet_cifar", {"depth": 20})))
    assert [len(group) for group in groups] == [6, 5, 5]
    assert describe(groups[1][0]) == "stages.1.0.conv2 is 32→32 3x3"
