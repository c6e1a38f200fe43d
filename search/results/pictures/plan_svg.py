"""A plan drawn as SVG text that stands in any page: the whole picture, and a strip for one line.

What is drawn is also said in words, for readers of screens. ``data-bank`` lets a page light the
partners of a site.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from math import log2

from isoshare.search.results.describe import counted
from isoshare.search.results.pictures.plan_picture import PALETTE, Box, PlanPicture, in_order
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import Site

CELL, GAP, LOW, HIGH, LABEL = 34, 4, 24, 64, 22
"""Pixels: the width of a site, the space between two, the least and greatest height, the line of
channels below."""
WIDE, NARROW = 26, 9
"""Sites in one row, on a desk and on a phone."""
TICK, TALL = 4, 14
"""Pixels of a site in a strip."""

STYLE = (
    ":where(.plan-picture){--plan-ink:#111827;--plan-private:#9ca3af}"
    "@media (prefers-color-scheme:dark){:where(.plan-picture)"
    "{--plan-ink:#e5e7eb;--plan-private:#6b7280}}"
    ".plan-picture text{font:600 13px system-ui,sans-serif;text-anchor:middle}"
    ".plan-picture .channels{font-weight:400;font-size:11px;fill:var(--plan-ink)}"
    ".plan-picture .private{fill:none;stroke:var(--plan-private);stroke-dasharray:3 3}"
    ".plan-picture .run{stroke:var(--plan-ink);opacity:.5}"
)


def draw_svg(picture: PlanPicture, most: int = WIDE) -> str:
    """The picture as an ``<svg>`` element without outer references; most: sites in one row.

    Its colours follow the light or dark scheme of the reader; a page may set ``--plan-ink`` and
    ``--plan-private`` itself.
    """
    rows = list(_rows(picture.boxes, most))
    width = max(map(len, rows), default=0) * (CELL + GAP) + GAP
    height = len(rows) * (HIGH + LABEL + GAP) + 1
    key = f"plan-{picture.fingerprint}-{most}"
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


def draw_strip(plan: SharingPlan, sites: Sequence[Site]) -> str:
    """The plan as a strip of one line, a tick per site; the words beside it say the rest."""
    owner = {
        name: number for number, bank in enumerate(in_order(plan, sites)) for name in bank.sites
    }
    ticks = "".join(
        f'<rect x="{at * TICK}" y="0" width="{TICK - 1}" height="{TALL}" '
        f'fill="{PALETTE[owner[site.name] % len(PALETTE)]}"/>'
        if site.name in owner
        else f'<rect x="{at * TICK}" y="5" width="{TICK - 1}" height="4" class="private"/>'
        for at, site in enumerate(sites)
    )
    width = len(sites) * TICK
    return (
        f'<svg class="plan-strip" viewBox="0 0 {width} {TALL}" width="{width}" height="{TALL}" '
        f'preserveAspectRatio="none" aria-hidden="true">{ticks}</svg>'
    )


def _rows(boxes: Sequence[Box], most: int) -> Iterator[list[Box]]:
    """Rows of at most so many sites that break between stages wherever a stage fits in a row."""
    row: list[Box] = []
    for _, run in groupby(boxes, key=_stage):
        stage = list(run)
        if row and len(row) + len(stage) > most:
            yield row
            row = []
        row += stage
        while len(row) > most:
            yield row[:most]
            row = row[most:]
    if row:
        yield row


def _stage(box: Box) -> str:
    """The container that a site stands in: its name up to the first number, ``layer1``."""
    parts = box.name.split(".")
    at = next((place for place, part in enumerate(parts) if part[-1:].isdigit()), 0)
    return ".".join(parts[: at + 1])


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
        return (
            f'<g data-bank=""><title>{escape(told)}</title><rect class="private" {rectangle}/></g>'
        )
    bank = picture.banks[box.bank - 1]
    told = f"{box.name}, {box.shape}: bank {bank.number}, {bank.summary}"
    ink = "#ffffff" if bank.is_dark else "#111827"
    return (
        f'<g data-bank="{box.bank}"><title>{escape(told)}</title>'
        f'<rect fill="{bank.color}" {rectangle}/>'
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
