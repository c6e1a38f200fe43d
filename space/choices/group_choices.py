"""What one isomorphic group may choose: a method, its options, and which of its sites share.

Left out is what cannot help: an option with which no bank of the group costs less than the private
convolutions it replaces, and within an option the bank sizes for which it does not.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from isoshare.space.choices.method_choices import (
    MethodConfig,
    Suggester,
    find_offer,
    group_offers,
    middle_offer,
    offer_parameters,
    option_steps,
    suggest_offer,
)
from isoshare.space.choices.partitions import (
    MAPPINGS,
    Blocks,
    count_partitions,
    mapping_of,
    partitions,
    random_partition,
    spread,
    steps,
    tidy,
)
from isoshare.space.plan import Bank
from isoshare.space.sites import Site


@dataclass(frozen=True)
class Choice:
    """What a group has chosen: an offer and the blocks of two or more sites that share.

    Without blocks all sites are private, and there is no offer.
    """

    offer: MethodConfig | None = None
    blocks: Blocks = ()

    @property
    def banks(self) -> tuple[Bank, ...]:
        """The banks of the group in a plan."""
        if self.offer is None:
            return ()
        return tuple(
            Bank(self.offer.method, dict(self.offer.options), block) for block in self.blocks
        )


ALL_PRIVATE = Choice()


class GroupSpace:
    """The choices of one isomorphic group.

    sites: in module order; methods: those that may be used, network-wide ones left out;
    known: banks whose options are offered too, where they fit.
    """

    def __init__(
        self, sites: Sequence[Site], methods: Sequence[str], known: Sequence[Bank]
    ) -> None:
        self.sites = tuple(sites)
        self.names = tuple(site.name for site in sites)
        self.label = self.names[0]
        self.offers = tuple(group_offers(self.sites, methods, known))
        self.methods = tuple(dict.fromkeys(offer.method for offer in self.offers))

    @cached_property
    def private_parameters(self) -> int:
        """What the group costs unshared."""
        return sum(site.parameters for site in self.sites)

    def count(self) -> int:
        """How many different choices there are."""
        return self._count

    @cached_property
    def _count(self) -> int:
        length = len(self.sites)
        return 1 + sum(count_partitions(length, offer.sizes) - 1 for offer in self.offers)

    def choices(self) -> Iterator[Choice]:
        """All of them, each once."""
        yield ALL_PRIVATE
        for offer in self.offers:
            for blocks in partitions(self.names, offer.sizes):
                if blocks:
                    yield Choice(offer, blocks)

    def smallest(self) -> tuple[int, Choice]:
        """The choice with the fewest parameters, and how many they are."""
        sizes = (
            (one.offer.parameters(self.sites) if one.offer else self.private_parameters, one)
            for one in self.wholes()
        )
        return min(sizes, key=lambda size: size[0])

    def wholes(self) -> list[Choice]:
        """All private, or all sites in one bank of each offer."""
        offers = (offer for offer in self.offers if len(self.sites) in offer.sizes)
        return [ALL_PRIVATE, *(Choice(offer, (self.names,)) for offer in offers)]

    def whole(self, method: str) -> Choice:
        """All sites in one bank of ``method``, with the option in the middle of its costs."""
        offers = (one for one in self.offers if one.method == method)
        offer = middle_offer([one for one in offers if len(self.sites) in one.sizes], self.sites)
        return ALL_PRIVATE if offer is None else Choice(offer, (self.names,))

    def suggest(self, trial: Suggester, method: str) -> Choice:
        """The choice of a sampler that has chosen ``method`` for this group."""
        offer = suggest_offer(trial, self.offers, method, self.label)
        return ALL_PRIVATE if offer is None else self.choice(offer, self._suggest_parts(trial))

    def parameters(self, choice: Choice) -> dict[str, str]:
        """The inverse of ``suggest``; a group that is all private has a free mapping alone."""
        options = {}
        if choice.offer is not None:
            options = offer_parameters(self.offers, choice.offer, self.label)
        return options | self._parts_parameters(choice.blocks)

    def read(self, banks: Sequence[Bank]) -> Choice | None:
        """The choice that makes these banks of the group; None if it is not offered."""
        if not banks:
            return ALL_PRIVATE
        offer = find_offer(self.offers, banks[0].method, banks[0].options)
        if offer is None or any(bank.document["options"] != dict(offer.options) for bank in banks):
            return None
        return self.choice(offer, [bank.sites for bank in banks])

    def random(self, method: str, rng: random.Random) -> Choice:
        """A choice by ``method`` drawn at random."""
        offer = rng.choice([offer for offer in self.offers if offer.method == method])
        return self.choice(offer, random_partition(self.names, offer.sizes, rng))

    def neighbours(self, choice: Choice) -> Iterator[Choice]:
        """Choices one step away: a site moved, banks merged or split, an option or the method."""
        if choice.offer is None:
            for method in self.methods:
                whole = self.whole(method)
                yield whole
                if whole.offer is not None:
                    yield from self._steps(whole.offer, ())
            return
        yield ALL_PRIVATE
        yield from self._steps(choice.offer, choice.blocks)
        others = (self.whole(name).offer for name in self.methods if name != choice.offer.method)
        for offer in (*option_steps(self.offers, choice.offer), *others):
            if offer is not None:
                yield self.choice(offer, choice.blocks)

    def _steps(self, offer: MethodConfig, blocks: Blocks) -> Iterator[Choice]:
        for parts in steps(self.names, blocks):
            yield self.choice(offer, parts)

    def choice(self, offer: MethodConfig, parts: Iterable[Sequence[str]]) -> Choice:
        """The choice of these blocks, less those whose size the offer does not allow."""
        blocks = tidy(self.names, parts, offer.sizes)
        return Choice(offer, blocks) if blocks else ALL_PRIVATE

    def _suggest_parts(self, trial: Suggester) -> list[list[str]] | Blocks:
        """The partition a sampler chooses: a mapping and a number of banks, or site by site."""
        if len(self.names) > 2:
            mapping = trial.suggest_categorical(f"mapping/{self.label}", MAPPINGS)
            if mapping != "free":
                numbers = [str(banks) for banks in range(1, len(self.names))]
                banks = trial.suggest_categorical(f"banks/{self.label}", numbers)
                return spread(self.names, int(banks), mapping)
        block_of = {self.label: [self.label]}
        for place, name in enumerate(self.names[1:], start=1):
            partner = trial.suggest_categorical(f"shares_with/{name}", self.names[: place + 1])
            block = block_of.get(partner, [])
            block.append(name)
            block_of[name] = block
        return list({id(block): block for block in block_of.values()}.values())

    def _parts_parameters(self, blocks: Blocks) -> dict[str, str]:
        answers: dict[str, str] = {}
        if len(self.names) > 2:
            mapping, banks = mapping_of(self.names, blocks)
            answers[f"mapping/{self.label}"] = mapping
            if mapping != "free":
                return {**answers, f"banks/{self.label}": str(banks)}
        latest = {name: name for name in self.names}
        for block in blocks:
            for before, name in itertools.pairwise(block):
                latest[name] = before
        return answers | {f"shares_with/{name}": latest[name] for name in self.names[1:]}
