"""What the groups of a space could do, each with its score and what it costs: food for a solver.

A group that can be divided in few ways offers them all; a larger one nested clusterings (the two
banks whose union costs least are joined, again and again) and the divisions in order and strided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.evaluators.sensitivities.plan_scores import GroupScores, PlanScores
from isoshare.space.choices.group_choices import ALL_PRIVATE, Choice, GroupSpace
from isoshare.space.choices.method_choices import MethodConfig
from isoshare.space.choices.partitions import Blocks, count_partitions, partitions, spread, tidy
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site

ALL_WAYS = 1_000
"""Partitions of a group for one offer up to which all are looked at: those of seven sites."""
Costs = dict[str, float]


@dataclass(frozen=True)
class GroupOption:
    """A choice of one group: its score, and what it adds to each objective of the unshared network
    (below zero where it saves).
    """

    choice: Choice
    score: float
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Family:
    """Groups of one kernel size, and what it is for them to join a network-wide bank.

    joined: by place, for those that may: without the fixed part that the bank costs once.
    """

    places: tuple[int, ...]
    joined: Mapping[int, GroupOption]
    fixed: Costs


class OptionMaker:
    """Makes the options of groups, with each objective among ``objectives``, which must be sums
    over banks. Sites that cost the same are asked about once.
    """

    def __init__(self, space: SearchSpace, scores: PlanScores, objectives: Sequence[str]) -> None:
        self._space, self.scores, self._objectives = space, scores, tuple(objectives)
        self._known: dict[object, Costs] = {}
        self.unshared = self._absolute(SharingPlan())
        self._sites = {site.name: site for site in space.sites}

    def of_group(self, group: GroupSpace) -> list[GroupOption]:
        """What a group can do by itself; all private comes first."""
        options = [GroupOption(ALL_PRIVATE, 0.0, dict.fromkeys(self._objectives, 0.0))]
        for offer in group.offers:
            known = self.scores.group(offer.method, dict(offer.options), group.names[0])
            of_block: dict[tuple[str, ...], GroupOption] = {}
            for blocks in _ways(group.names, offer, known):
                for block in blocks:
                    if block not in of_block:
                        of_block[block] = self._block(offer, block, known)
                parts = [of_block[block] for block in blocks]
                total = {name: sum(one.costs[name] for one in parts) for name in self._objectives}
                score = sum(one.score for one in parts)
                options.append(GroupOption(Choice(offer, blocks), score, total))
        return options

    def _block(
        self, offer: MethodConfig, sites: tuple[str, ...], scores: GroupScores
    ) -> GroupOption:
        """One bank of a group alone."""
        score = scores.bank([scores.sites.index(name) for name in sites])
        return GroupOption(Choice(offer, (sites,)), score, self.bank(offer, sites))

    def family(self, offer: MethodConfig | None, places: Sequence[int]) -> Family:
        """The groups at ``places`` with ``offer``, a network-wide one, or none."""
        nothing = dict.fromkeys(self._objectives, 0.0)
        if offer is None:
            return Family(tuple(places), {}, nothing)
        wide, groups = self._space.wide, self._space.group_spaces
        names = {
            place: groups[place].names
            for place in places
            if wide.is_wide(wide.joined(offer, place))
        }
        alone = {place: self.bank(offer, sites) for place, sites in names.items()}
        fixed = nothing
        if len(names) > 1:
            one, other = list(names)[:2]
            both = self.bank(offer, (*names[one], *names[other]))
            fixed = {name: alone[one][name] + alone[other][name] - both[name] for name in both}
        joined = {
            place: GroupOption(
                wide.joined(offer, place),
                self.scores.bank(offer.method, dict(offer.options), names[place]),
                {name: costs[name] - fixed[name] for name in costs},
            )
            for place, costs in alone.items()
        }
        return Family(tuple(places), joined, fixed)

    def bank(self, offer: MethodConfig, sites: Sequence[str]) -> Costs:
        """What one bank adds."""
        key = (offer.method, offer.options, tuple(self._kind(self._sites[name]) for name in sites))
        if key not in self._known:
            plan = SharingPlan((Bank(offer.method, dict(offer.options), tuple(sites)),))
            found = self._absolute(plan)
            self._known[key] = {name: found[name] - self.unshared[name] for name in found}
        return self._known[key]

    def _absolute(self, plan: SharingPlan) -> Costs:
        rows = ((name, OBJECTIVES[name].exact) for name in self._objectives)
        return {name: exact(self._space, plan) for name, exact in rows if exact is not None}

    def _kind(self, site: Site) -> object:
        """What a site's costs depend on."""
        if not self._space.has_costs:
            return site.signature, site.bias
        costs = self._space.costs
        return site.signature, site.bias, costs.positions[site.name], costs.uses.get(site.name)


def _ways(names: Sequence[str], offer: MethodConfig, scores: GroupScores) -> Iterator[Blocks]:
    """Divisions of a group into banks, each once."""
    if count_partitions(len(names), offer.sizes) <= ALL_WAYS:
        yield from (blocks for blocks in partitions(names, offer.sizes) if blocks)
        return
    found = [*nested_clusterings(names, scores)]
    for mapping in ("in order", "strided"):
        found += [spread(names, banks, mapping) for banks in range(1, len(names))]
    tidied = (tidy(names, blocks, offer.sizes) for blocks in found)
    yield from (blocks for blocks in dict.fromkeys(tidied) if blocks)


def nested_clusterings(names: Sequence[str], scores: GroupScores) -> Iterator[Blocks]:
    """From pairs to the whole group: the two blocks are joined that together add the least."""
    blocks: list[tuple[str, ...]] = [(name,) for name in names]
    between = scores.matrix.copy()  # summed over the pairs of sites of each two blocks
    within, sizes = np.zeros(len(names)), np.ones(len(names), int)
    while len(blocks) > 1:
        union = within[:, None] + within[None] + between
        alone = scores.composed(within, sizes)
        added = scores.composed(union, sizes[:, None] + sizes[None])
        added = added - alone[:, None] - alone[None]
        np.fill_diagonal(added, np.inf)
        one, other = sorted(int(place) for place in np.unravel_index(added.argmin(), added.shape))
        within[one], sizes[one] = union[one, other], sizes[one] + sizes[other]
        between[one] += between[other]
        between[:, one] += between[:, other]
        blocks[one] += blocks[other]
        del blocks[other]
        within, sizes = np.delete(within, other), np.delete(sizes, other)
        between = np.delete(np.delete(between, other, 0), other, 1)
        np.fill_diagonal(between, 0)
        yield tuple(block for block in blocks if len(block) > 1)
