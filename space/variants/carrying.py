"""Carry a sharing pattern from one variant of a backbone to another, by stage and role.

Sites of several variants are the same where their names are. What makes a network deeper adds
numbers to the names: a number in a name that takes more values in one variant than in another
counts repetitions, and sites whose names differ in such numbers alone, within one isomorphic
group, have one *role*: the second convolution of each block of a stage, say. A pattern is stretched
or thinned over the sites of a role, so that "tied throughout stage 3" stays so at every depth.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from isoshare.space.choices.group_choices import ALL_PRIVATE, Choice, GroupSpace
from isoshare.space.choices.method_choices import nearest_offer
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan, Variant
from isoshare.space.search_space import SearchSpace

Role = tuple[str, int]
"""The name of a site without the numbers that count repetitions, and which of the isomorphic
groups that have such sites it is in."""
NUMBERS = re.compile(r"(\d+)")


class Roles:
    """The roles of the sites of several variants.

    of: by variant and name of a site, its role.
    """

    def __init__(self, members: Mapping[Variant, SearchSpace]) -> None:
        counting = _counting(
            [
                [name for space in one.group_spaces for name in space.names]
                for one in members.values()
            ]
        )
        self.of = {variant: _roles(space, counting) for variant, space in members.items()}
        self._members = members
        self._sites = {variant: _by_role(roles) for variant, roles in self.of.items()}

    def carried(self, plan: SharingPlan, variant: Variant) -> SharingPlan:
        """The pattern of ``plan`` on another variant: a plan of its space.

        Where that does not offer a method with the same options, the nearest ones take their place;
        what it cannot share stays private.
        """
        owner = {name: bank for bank in plan.banks for name in bank.sites}
        partners = self._partners(plan.variant, variant)
        space = self._members[variant]
        choices = [
            self._choice(space, place, [owner.get(partners.get(name, "")) for name in group.names])
            for place, group in enumerate(space.group_spaces)
        ]
        return space.plan_of(space.wide.tidy(choices))

    def _partners(self, source: Variant, target: Variant) -> dict[str, str]:
        """For each site of the target the site of the source whose part it takes."""
        there = self._sites[source]
        return {
            name: there[role][place * len(there[role]) // len(names)]
            for role, names in self._sites[target].items()
            if role in there
            for place, name in enumerate(names)
        }

    @staticmethod
    def _choice(space: SearchSpace, place: int, owners: Sequence[Bank | None]) -> Choice:
        """What a group chooses whose sites take the parts of sites in these banks: the method that
        most of them have.
        """
        methods = Counter(
            (bank.method, tuple(bank.options.items())) for bank in owners if bank is not None
        )
        if not methods:
            return ALL_PRIVATE
        (method, options), _ = methods.most_common(1)[0]
        if METHODS[method].network_wide:
            wide = nearest_offer(space.wide.offers, method, dict(options))
            return ALL_PRIVATE if wide is None else space.wide.joined(wide, place)
        group = space.group_spaces[place]
        offer = nearest_offer(group.offers, method, dict(options))
        if offer is None:
            return ALL_PRIVATE
        return group.choice(offer, _parts(group, owners, (method, options)))


def _parts(
    group: GroupSpace,
    owners: Sequence[Bank | None],
    wanted: tuple[str, tuple[tuple[str, object], ...]],
) -> Iterable[Sequence[str]]:
    """The sites of a group that take the part of one bank, together; wanted: its method."""
    parts: defaultdict[Bank, list[str]] = defaultdict(list)
    for name, bank in zip(group.names, owners, strict=True):
        if bank is not None and (bank.method, tuple(bank.options.items())) == wanted:
            parts[bank].append(name)
    return parts.values()


def _counting(variants: Sequence[Sequence[str]]) -> set[tuple[str, int]]:
    """The numbers in names that count repetitions: by the name without any numbers, the places of
    those that take other values in one variant than in another.
    """
    taken: defaultdict[tuple[str, int], list[set[str]]] = defaultdict(list)
    for names in variants:
        here: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for name in names:
            parts = NUMBERS.split(name)
            for place in range(1, len(parts), 2):
                here[NUMBERS.sub("*", name), place].add(parts[place])
        for key, values in here.items():
            taken[key].append(values)
    return {key for key, values in taken.items() if any(one != values[0] for one in values)}


def _roles(space: SearchSpace, counting: set[tuple[str, int]]) -> dict[str, Role]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    roles: dict[str, Role] = {}
    for place, group in enumerate(space.group_spaces):
        for name in group.names:
            bare = _without_counts(name, counting)
            if place not in groups[bare]:
                groups[bare].append(place)
            roles[name] = bare, groups[bare].index(place)
    return roles


def _without_counts(name: str, counting: set[tuple[str, int]]) -> str:
    parts, template = NUMBERS.split(name), NUMBERS.sub("*", name)
    for place in range(1, len(parts), 2):
        if (template, place) in counting:
            parts[place] = "*"
    return "".join(parts)


def _by_role(roles: Mapping[str, Role]) -> dict[Role, list[str]]:
    """The sites of each role, in module order."""
    found: defaultdict[Role, list[str]] = defaultdict(list)
    for name, role in roles.items():
        found[role].append(name)
    return dict(found)
