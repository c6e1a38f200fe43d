"""The picture of a plan: the network as a row of sites, coloured by bank.

First in numbers (``plan_picture``), then as SVG text (``draw_svg``) that stands in any page. Banks
are told apart by number as well as by colour (Okabe and Ito 2008, made for colour-blind readers);
what is drawn is also said in words, for readers of screens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import log2
from typing import Any

from isoshare.search.results.describe import counted
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, describe_signature

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
DARK = ("#0072b2", "#d55e00", "#009e73")
"""Colours on which numbers are white."""

CELL, GAP, LOW, HIGH, LABEL, MOST = 34, 4, 24, 64, 22, 26
"""Pixels: the width of a site, the space between two, the least and greatest height, the line of
channels below; and sites in one row."""


@dataclass(frozen=True)
class Box:
    """A site. bank: the number of its bank from 1, or None where it stays private."""

    name: str
    shape: str
    out_channels: int
    parameters: int
    bank: int | None


@dataclass(frozen=True)
class BankCount:
    """A bank in words and numbers; unshared: the parameters of its sites without it."""

    number: int
    method: str
    summary: str
    options: Mapping[str, Any]
    sites: tuple[str, ...]
    unshared: int
    shared: int

    @property
    def color(self) -> str:
        """The same for every seventh bank: the number tells them apart."""
        return PALETTE[(self.number - 1) % len(PALETTE)]

    @property
    def is_dark(self) -> bool:
        """Whether text on its colour has to be white."""
        return self.color in DARK


@dataclass(frozen=True)
class PlanPicture:
    """Everything that is drawn; counts are trainable parameters.

    private: of the sites in no bank; rest: of everything that is no site. They and the banks sum up
    to ``shared``.
    """

    fingerprint: str
    boxes: tuple[Box, ...]
    banks: tuple[BankCount, ...]
    private: int
    rest: int
    unshared: int

    @property
    def shared(self) -> int:
        """Parameters of the shared network."""
        return self.private + self.rest + sum(bank.shared for bank in self.banks)


def plan_picture(sites: Sequence[Site], plan: SharingPlan, unshared: int) -> PlanPicture:
    """The numbers of the picture, torch-free.

    sites: those of the backbone, in module order; unshared: parameters of the whole backbone.
    Banks are numbered in the order in which they are met. The plan must be one for these sites.
    """
    place = {site.name: at for at, site in enumerate(sites)}
    banks = sorted(plan.banks, key=lambda bank: min(place[name] for name in bank.sites))
    owner = {name: number for number, bank in enumerate(banks, 1) for name in bank.sites}
    boxes = tuple(
        Box(
            site.name,
            describe_signature(site.signature),
            site.out_channels,
            site.parameters,
            owner.get(site.name),
        )
        for site in sites
    )
    return PlanPicture(
        fingerprint=plan.fingerprint,
        boxes=boxes,
        banks=tuple(_count(number, bank, sites) for number, bank in enumerate(banks, 1)),
        private=sum(box.parameters for box in boxes if box.bank is None),
        rest=unshared - sum(box.parameters for box in boxes),
        unshared=unshared,
    )


def in_words(picture: PlanPicture) -> str:
    """Who shares with whom, in full sentences."""
    said = [
        f"Bank {bank.number}, {bank.summary}, {bank.shared:,} in place of {bank.unshared:,} "
        f"parameters: {', '.join(bank.sites)}."
        for bank in picture.banks
    ]
    private = [box.name for box in picture.boxes if box.bank is None]
    said += [f"Private: {', '.join(private)}."] if private else []
    return " ".join(said)


def draw_svg(picture: PlanPicture) -> str:
    """The picture as an ``<svg>`` element without outer references.

    Its colours follow the light or dark scheme of the reader; a page may set ``--plan-ink`` and
    ``--plan-private`` itself.
    """
    rows = [picture.boxes[at : at + MOST] for at in range(0, len(picture.boxes), MOST)]
    width = min(MOST, len(picture.boxes)) * (CELL + GAP) + GAP
    height = len(rows) * (HIGH + LABEL + GAP) + 1
    key = f"plan-{picture.fingerprint}"
    title = (
        f"{counted(len(picture.boxes), 'site')}, {counted(len(picture.banks), 'bank')}, "
        f"{picture.shared:,} of {picture.unshared:,} parameters"
    )
    drawn = "".join(
        _row(row, 1 + at * (HIGH + LABEL + GAP), picture) for at, row in enumerate(rows)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plan-picture" role="img" '
        f'viewBox="0 0 {width} {height}" width="{width}" style="max-width:{width}px;width:100%" '
        f'aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(in_words(picture))}</desc>'
        f"<style>{STYLE}</style>{drawn}</svg>"
    )


STYLE = (
    ":where(.plan-picture){--plan-ink:#111827;--plan-private:#9ca3af}"
    "@media (prefers-color-scheme:dark){:where(.plan-picture)"
    "{--plan-ink:#e5e7eb;--plan-private:#6b7280}}"
    ".plan-picture text{font:600 13px system-ui,sans-serif;text-anchor:middle}"
    ".plan-picture .channels{font-weight:400;font-size:11px;fill:var(--plan-ink)}"
    ".plan-picture .private{fill:none;stroke:var(--plan-private);stroke-dasharray:3 3}"
    ".plan-picture .run{stroke:var(--plan-ink);opacity:.5}"
)


def _count(number: int, bank: Bank, sites: Sequence[Site]) -> BankCount:
    chosen = set(bank.sites)
    members = [site for site in sites if site.name in chosen]
    row = METHODS[bank.method]
    return BankCount(
        number=number,
        method=bank.method,
        summary=row.summary,
        options=dict(bank.options),
        sites=tuple(site.name for site in members),
        unshared=sum(site.parameters for site in members),
        shared=row.parameters(members, bank.options),
    )


def _row(boxes: Sequence[Box], top: int, picture: PlanPicture) -> str:
    """Sites from left to right, the wider the network the higher, on a line of their channels."""
    channels = [box.out_channels for box in picture.boxes]
    least, most = log2(min(channels)), log2(max(channels))
    foot, drawn = top + HIGH, []
    for at, box in enumerate(boxes):
        share = (log2(box.out_channels) - least) / (most - least) if most > least else 0.5
        tall = round(LOW + share * (HIGH - LOW))
        drawn.append(_box(box, GAP + at * (CELL + GAP), foot - tall, tall, picture))
    return "".join((*drawn, *_runs(boxes, foot)))


def _box(box: Box, left: int, top: int, tall: int, picture: PlanPicture) -> str:
    rectangle = f'x="{left}" y="{top}" width="{CELL}" height="{tall}" rx="4"'
    if box.bank is None:
        told = f"{box.name}, {box.shape}: private, {box.parameters:,} parameters"
        return f'<g><title>{escape(told)}</title><rect class="private" {rectangle}/></g>'
    bank = picture.banks[box.bank - 1]
    told = f"{box.name}, {box.shape}: bank {bank.number}, {bank.summary}"
    ink = "#ffffff" if bank.is_dark else "#111827"
    return (
        f'<g><title>{escape(told)}</title><rect fill="{bank.color}" {rectangle}/>'
        f'<text x="{left + CELL / 2:g}" y="{top + tall / 2 + 5:g}" fill="{ink}">{box.bank}</text>'
        "</g>"
    )


def _runs(boxes: Sequence[Box], foot: int) -> Iterator[str]:
    """Neighbours of equal out-channels, underlined and labelled."""
    for channels, run in groupby(range(len(boxes)), key=lambda at: boxes[at].out_channels):
        places = list(run)
        left = GAP + places[0] * (CELL + GAP)
        right = GAP + places[-1] * (CELL + GAP) + CELL
        label = f"{channels} channels" if len(places) > 2 else f"{channels}"
        yield (
            f'<path class="run" d="M{left} {foot + 4}H{right}"/>'
            f'<text class="channels" x="{(left + right) / 2:g}" y="{foot + 17}">{label}</text>'
        )
