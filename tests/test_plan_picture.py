"""The picture of a plan: its numbers are those of the network, its drawing says the same."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict

import pytest
import torch

from isoshare import Bank, SharingPlan, apply_plan, count_parameters, find_sites, isomorphic_groups
from isoshare.search.results.describe import plan_in_brief, plan_in_words
from isoshare.search.results.pictures.plan_picture import PALETTE, plan_picture
from isoshare.search.results.pictures.plan_svg import draw_strip, draw_svg, in_words
from isoshare.space.backbones import build_backbone
from isoshare.space.methods import METHODS
from tests.test_methods import OPTIONS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("method", METHODS)
def test_counts_are_those_of_the_network_that_is_built(method: str) -> None:
    torch.manual_seed(0)
    network = build_backbone("resnet_cifar", {"depth": 14, "width": 8})
    sites, unshared = find_sites(network), count_parameters(network)
    groups = isomorphic_groups(sites)
    banks = tuple(
        Bank(method, OPTIONS[method], tuple(site.name for site in group)) for group in groups[1:]
    )
    plan = SharingPlan(banks)
    picture = plan_picture(sites, plan, unshared)
    assert picture.shared == count_parameters(apply_plan(network, plan))
    assert picture.unshared == unshared
    assert [box.name for box in picture.boxes] == [site.name for site in sites]
    drawn = {box.name: box.bank for box in picture.boxes if box.bank}
    assert drawn == {name: bank.number for bank in picture.banks for name in bank.sites}
    assert [bank.number for bank in picture.banks] == list(range(1, len(groups)))


def test_the_drawing_is_svg_that_says_what_it_shows() -> None:
    network = build_backbone("resnet_cifar", {"depth": 62, "width": 4})
    sites = find_sites(network)
    names = [site.name for site in sites if site.in_channels == site.out_channels]
    groups = [names[at : at + 2] for at in range(0, len(names) - 1, 2)]
    same = [pair for pair in groups if len({_channels(sites, name) for name in pair}) == 1]
    plan = SharingPlan(tuple(Bank("kernel", {}, tuple(pair)) for pair in same))
    picture = plan_picture(sites, plan, count_parameters(network))
    assert len(picture.banks) > len(PALETTE)  # colours come again, numbers do not
    root = ET.fromstring(draw_svg(picture))
    rectangles = root.findall(f".//{SVG}rect")
    assert len(rectangles) == len(sites)
    assert sum(one.get("class") == "private" for one in rectangles) == len(sites) - len(plan.sites)
    numbers = [one.text for one in root.findall(f".//{SVG}text") if not one.get("class")]
    assert sorted(map(int, filter(None, numbers))) == sorted([*range(1, len(same) + 1)] * 2)
    assert root.get("role") == "img"
    labels = {one.get("id"): one.text for one in root.iter() if one.get("id")}
    assert set(labels) == set((root.get("aria-labelledby") or "").split())
    assert in_words(picture) in labels.values()
    for name in (site.name for site in sites):
        assert re.search(rf"\b{re.escape(name)}\b", in_words(picture))


def _channels(sites: tuple[object, ...], name: str) -> object:
    return next(site.signature for site in sites if site.name == name)  # type: ignore[attr-defined]


def test_a_plan_that_shares_nothing_can_be_drawn() -> None:
    network = build_backbone("resnet_cifar", {"depth": 8, "width": 2})
    picture = plan_picture(find_sites(network), SharingPlan(), count_parameters(network))
    assert picture.shared == picture.unshared
    assert ET.fromstring(draw_svg(picture)).tag == f"{SVG}svg"


def test_rows_break_between_stages_and_a_strip_has_a_tick_per_site() -> None:
    network = build_backbone("resnet_cifar", {"depth": 32, "width": 4})
    sites, names = find_sites(network), [site.name for site in find_sites(network)]
    plan = SharingPlan((Bank("kernel", {}, tuple(names[1:3])),))
    root = ET.fromstring(draw_svg(plan_picture(sites, plan, count_parameters(network)), 12))
    tops = defaultdict(list)
    for group in root.findall(f"{SVG}g"):
        rectangle, title = group.find(f"{SVG}rect"), group.findtext(f"{SVG}title") or ""
        assert rectangle is not None
        foot = float(rectangle.get("y", "")) + float(rectangle.get("height", ""))
        tops[foot].append(title.partition(",")[0])
    rows = [row for _, row in sorted(tops.items())]
    assert [name for row in rows for name in row] == names
    assert [row[0] for row in rows] == ["stem", "stages.1.0.conv1", "stages.2.0.conv1"]
    strip = ET.fromstring(draw_strip(plan, sites))
    assert len(strip) == len(sites)
    assert sum(one.get("class") == "private" for one in strip) == len(sites) - 2
    assert plan_in_brief(plan, sites, 10) == "1 bank of 1 method, 2 of 32 sites share"
    assert plan_in_brief(plan, sites) == plan_in_words(plan, sites)
