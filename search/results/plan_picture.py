"""A plan as a picture: the sites of the network in a row, each in the colour of its bank.

SVG as text, for pages and reports. Colours are CSS variables with a fallback, letters say the same
as colours, and every site has a title for screen readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from search.results.words import brief, counted
from space.plan import SharingPlan
from space.sites import Site, describe_signature

COLORS = ("#4269d0", "#b8860b", "#d0432b", "#2a8f86", "#7a4fc4", "#2f8f3a", "#c2408f", "#8a5a3b")
A_ROW, STEP, WIDTH, TALL, LOW = 32, 30, 24, 84, 22


@dataclass(frozen=True)
class Block:
    """One site of the picture; bank counts from 0, None for a private site.

    height: in pixels, by the square root of the site's parameters.
    """

    site: Site
    bank: int | None
    height: float


def plan_blocks(plan: SharingPlan, sites: Sequence[Site]) -> list[Block]:
    """The numbers of the picture, in module order."""
    owner = {name: place for place, bank in enumerate(plan.banks) for name in bank.sites}
    largest = max((site.parameters for site in sites), default=1)
    return [
        Block(site, owner.get(site.name), LOW + (TALL - LOW) * (site.parameters / largest) ** 0.5)
        for site in sites
    ]


def letter(bank: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    turn, place = divmod(bank, 26)
    return chr(ord("A") + place) + (str(turn + 1) if turn else "")


def color(bank: int) -> str:
    """The colour of a bank, for ``fill``: a variable of the page, or else a colour of our own."""
    place = bank % len(COLORS)
    return f"var(--bank-{place}, {COLORS[place]})"


def plan_svg(plan: SharingPlan, sites: Sequence[Site], name: str = "plan") -> str:
    """The picture; ``name`` makes its ids unique in a page."""
    blocks = plan_blocks(plan, sites)
    rows = [blocks[start : start + A_ROW] for start in range(0, len(blocks), A_ROW)] or [[]]
    width, height = STEP * min(A_ROW, max(len(blocks), 1)) + 6, (TALL + 26) * len(rows)
    shared = sum(block.bank is not None for block in blocks)
    said = (
        f"{counted(len(blocks), 'site')} in order, {shared} of them in "
        f"{counted(len(plan.banks), 'bank')}: {_banks_in_words(plan)}"
    )
    parts = [
        f'<svg class="network" role="img" aria-labelledby="{name}-title {name}-text" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'xmlns="http://www.w3.org/2000/svg">',
        f'<title id="{name}-title">Who shares with whom</title>',
        f'<desc id="{name}-text">{escape(said)}</desc>',
    ]
    for place, row in enumerate(rows):
        bottom = (TALL + 26) * place + TALL + 4
        parts += [_block_svg(block, 3 + STEP * at, bottom, plan) for at, block in enumerate(row)]
    return "".join([*parts, "</svg>"])


def _block_svg(block: Block, x: float, bottom: float, plan: SharingPlan) -> str:
    site, top = block.site, bottom - block.height
    box = f'x="{x}" y="{top:.1f}" width="{WIDTH}" height="{block.height:.1f}" rx="4"'
    shape = f"{site.name}, {describe_signature(site.signature)}, {site.parameters:,} parameters"
    if block.bank is None:
        title = f"{shape}: private"
        drawn = f'<rect {box} fill="none" stroke="var(--muted, #6b7280)" stroke-dasharray="3 2"/>'
    else:
        title = f"{shape}: bank {letter(block.bank)}, {brief(plan.banks[block.bank])}"
        drawn = (
            f'<rect {box} fill="{color(block.bank)}"/><text x="{x + WIDTH / 2}" '
            f'y="{bottom - 7:.1f}" text-anchor="middle" font-size="12" font-weight="600" '
            f'fill="var(--on-bank, #fff)">{letter(block.bank)}</text>'
        )
    return f"<g><title>{escape(title)}</title>{drawn}</g>"


def _banks_in_words(plan: SharingPlan) -> str:
    said = [
        f"bank {letter(place)}, {brief(bank)}, {counted(len(bank.sites), 'site')}"
        for place, bank in enumerate(plan.banks)
    ]
    return "; ".join(said) or "nothing is shared"
