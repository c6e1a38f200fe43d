"""The picture of a plan: the network as a row of sites, coloured by bank.

These are its numbers; plan_svg.py and plan_figure.py draw them. Banks are told apart by number as
well as by colour (Okabe and Ito 2008, made for colour-blind readers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, describe_signature

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
DARK = ("#0072b2", "#d55e00", "#009e73")
"""Colours on which numbers are white."""


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
    banks = in_order(plan, sites)
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


def in_order(plan: SharingPlan, sites: Sequence[Site]) -> list[Bank]:
    """The banks in the order in which they are met."""
    place = {site.name: at for at, site in enumerate(sites)}
    return sorted(plan.banks, key=lambda bank: min(place[name] for name in bank.sites))


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
