"""The choices of network-wide methods: one set of options for the network, and who joins.

A plan has at most one such method with one set of options. The groups of one kernel size that join
make one bank; it is worth having if they save more than its fixed part costs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from isoshare.space.choices.group_choices import ALL_PRIVATE, Choice, GroupSpace
from isoshare.space.choices.method_choices import (
    MethodConfig,
    Suggester,
    by_kernel_size,
    middle_offer,
    network_offers,
    offer_parameters,
    option_steps,
    suggest_offer,
)
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank

Choices = list[Choice]
"""What each group has chosen, in the order of the groups."""


class WideSpace:
    """What a network may choose of network-wide methods.

    spaces: those of all shapes of sites, also of single sites. families: the places of groups of
    one kernel size, which can be in one bank.
    """

    def __init__(
        self, spaces: Sequence[GroupSpace], methods: Sequence[str], known: Sequence[Bank]
    ) -> None:
        self._spaces = tuple(spaces)
        groups = [space.sites for space in spaces]
        self.offers = tuple(
            offer for method in methods for offer in network_offers(groups, method, known)
        )
        self.families = by_kernel_size(groups)
        self._savings = {offer: [offer.saving(group) for group in groups] for offer in self.offers}
        self._methods = [self._joinable(place) for place in range(len(groups))]

    def methods_of(self, place: int) -> tuple[str, ...]:
        """The network-wide methods that a group may join."""
        return self._methods[place]

    def _joinable(self, place: int) -> tuple[str, ...]:
        found = (offer.method for offer in self.offers if self._savings[offer][place] > 0)
        return tuple(dict.fromkeys(found))

    def joined(self, offer: MethodConfig, place: int) -> Choice:
        """The choice of a group to join, if that saves anything."""
        if self._savings[offer][place] <= 0:
            return ALL_PRIVATE
        return Choice(offer, (self._spaces[place].names,))

    def joining(self, offer: MethodConfig) -> list[tuple[str, ...]]:
        """The sites that may join, those of one kernel size together."""
        savings = self._savings[offer]
        together = (
            tuple(n for place in places if savings[place] > 0 for n in self._spaces[place].names)
            for places in self.families
        )
        return [names for names in together if names]

    def everywhere(self, method: str) -> Choices:
        """All groups join, with the options in the middle of their costs."""
        offers = [offer for offer in self.offers if offer.method == method]
        offer = middle_offer(offers, self._spaces[0].sites) if self._spaces else None
        if offer is None:
            return [ALL_PRIVATE for _ in self._spaces]
        return self.tidy([self.joined(offer, place) for place in range(len(self._spaces))])

    def smallest(self, offer: MethodConfig) -> Choices:
        """The choices with the fewest parameters where ``offer`` is at hand."""
        choices = [space.smallest()[1] for space in self._spaces]
        for places in self.families:
            trial, saved = list(choices), -offer.overhead(self._spaces[places[0]].sites[0])
            for place in places:
                space, saving = self._spaces[place], self._savings[offer][place]
                better = space.smallest()[0] - (space.private_parameters - saving)
                if better > 0 and saving > 0:
                    trial[place] = self.joined(offer, place)
                    saved += better
            if saved > 0:
                choices = trial
        return self.tidy(choices)

    def tidy(self, choices: Sequence[Choice]) -> Choices:
        """``choices`` without the banks that cost at least what they replace."""
        tidied = list(choices)
        for places in self.families:
            members = [place for place in places if self.is_wide(choices[place])]
            offers = {offer for place in members if (offer := choices[place].offer)}
            if len(offers) == 1 and not self._pays(offers.pop(), members):
                for place in members:
                    tidied[place] = ALL_PRIVATE
        return tidied

    def mixed(self, choices: Sequence[Choice]) -> Choices:
        """``choices`` of several plans, with the offer of one of them for all that have joined."""
        offer = self._offer_of(choices)
        if offer is None:
            return list(choices)
        return self.tidy(
            [
                self.joined(offer, place) if self.is_wide(choice) else choice
                for place, choice in enumerate(choices)
            ]
        )

    def is_wide(self, choice: Choice) -> bool:
        """Whether a group has joined a network-wide bank."""
        return choice.offer is not None and METHODS[choice.offer.method].network_wide

    def suggest(self, trial: Suggester, chosen: Sequence[Choice | str]) -> Choices:
        """Turn the method's name, where a group has chosen to join, into choices."""
        method = next((one for one in chosen if isinstance(one, str)), None)
        offer = None if method is None else suggest_offer(trial, self.offers, method)
        choices = []
        for place, one in enumerate(chosen):
            if isinstance(one, Choice):
                choices.append(one)
            else:
                choices.append(ALL_PRIVATE if offer is None else self.joined(offer, place))
        return self.tidy(choices)

    def parameters(self, choices: Sequence[Choice]) -> dict[str, str]:
        """The inverse of ``suggest``."""
        offer = self._offer_of(choices)
        if offer is None:
            return {}
        return offer_parameters(self.offers, offer)

    def read(self, place: int, banks: Sequence[Bank]) -> Choice | None:
        """The choice of a group whose sites are in these banks; None if it has not joined one."""
        for offer in self.offers:
            for bank in banks:
                same = (bank.method, tuple(bank.options.items())) == (offer.method, offer.options)
                if same and set(self._spaces[place].names) <= set(bank.sites):
                    return self.joined(offer, place)
        return None

    def random(self, rng: random.Random) -> MethodConfig | None:
        """Every other time an offer drawn evenly."""
        return rng.choice(self.offers) if self.offers and rng.random() < 0.5 else None

    def steps(self, current: Sequence[Choice]) -> Iterator[Choices]:
        """One group joins or leaves, one option changes, or all join and leave."""
        offer = self._offer_of(current)
        if offer is None:
            for method in dict.fromkeys(one.method for one in self.offers):
                yield self.everywhere(method)
            return
        for place, choice in enumerate(current):
            other = ALL_PRIVATE if self.is_wide(choice) else self.joined(offer, place)
            yield [*current[:place], other, *current[place + 1 :]]
        for step in option_steps(self.offers, offer):
            yield [
                self.joined(step, place) if self.is_wide(choice) else choice
                for place, choice in enumerate(current)
            ]
        yield [ALL_PRIVATE if self.is_wide(choice) else choice for choice in current]

    def count(self, offer: MethodConfig) -> int:
        """How many plans have a bank of this offer, exactly."""
        without = [self._ways(offer, places, 0) for places in self.families]
        banks = [self._ways(offer, places, 1) for places in self.families]
        return prod(map(sum, zip(without, banks, strict=True))) - prod(without)

    def choices(self, offer: MethodConfig) -> Iterator[Choices]:
        """All choices that make a bank of this offer, each once."""
        options = [
            [*space.choices(), *([self.joined(offer, place)] if saving > 0 else [])]
            for place, (space, saving) in enumerate(
                zip(self._spaces, self._savings[offer], strict=True)
            )
        ]
        for choices in product(*options):
            if self._offer_of(choices) and self.tidy(choices) == list(choices):
                yield list(choices)

    def _ways(self, offer: MethodConfig, places: Sequence[int], banks: int) -> int:
        """How many choices groups of one kernel size have with so many banks of ``offer``, 0 or 1.

        Counted by what the groups that have joined save; beyond the fixed part it is all the same.
        """
        if not banks:
            return prod(self._spaces[place].count() for place in places)
        overhead = offer.overhead(self._spaces[places[0]].sites[0])
        saved = Counter({0: 1})
        for place in places:
            saving, ways = self._savings[offer][place], self._spaces[place].count()
            after: Counter[int] = Counter()
            for sum_so_far, number in saved.items():
                after[sum_so_far] += number * ways
                if saving > 0:
                    after[min(sum_so_far + saving, overhead + 1)] += number
            saved = after
        return saved[overhead + 1]

    def _pays(self, offer: MethodConfig, members: Sequence[int]) -> bool:
        overhead = offer.overhead(self._spaces[members[0]].sites[0])
        return sum(self._savings[offer][place] for place in members) > overhead

    def _offer_of(self, choices: Sequence[Choice]) -> MethodConfig | None:
        return next((choice.offer for choice in choices if self.is_wide(choice)), None)
