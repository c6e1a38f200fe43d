"""Set partitions: the ways to divide the sites of a group into banks.

A *block* is a bank to be, a tuple of site names; a partition is given by its blocks of two or more,
in the order of their first sites, and every site in no block stays alone. Only blocks whose size
is in ``sizes`` are allowed: smaller ones may cost more than they save.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from math import comb

Block = tuple[str, ...]
Blocks = tuple[Block, ...]

MAPPINGS = ("in order", "strided", "free")
"""Sites 0 1 2 3 in two banks: in order 0 0 1 1, strided 0 1 0 1, free any other way."""

WHOLE_CUTS = 6
"""Blocks up to this size are split in every way, larger ones in order or strided only."""


def count_partitions(length: int, sizes: Collection[int]) -> int:
    """How many partitions of ``length`` sites have only allowed blocks; a Bell number at most."""
    counts = [1]
    for sites in range(1, length + 1):
        # The last site is alone, or in a block with some of the others.
        counts.append(
            counts[sites - 1]
            + sum(
                comb(sites - 1, size - 1) * counts[sites - size] for size in sizes if size <= sites
            )
        )
    return counts[length]


def partitions(names: Sequence[str], sizes: Collection[int]) -> Iterator[Blocks]:
    """All of them, each once."""
    for blocks in _all_partitions(tuple(names)):
        if all(len(block) == 1 or len(block) in sizes for block in blocks):
            yield tuple(block for block in blocks if len(block) > 1)


def spread(names: Sequence[str], banks: int, mapping: str) -> Blocks:
    """``names`` over ``banks`` blocks, in order or strided, as evenly as it goes."""
    if mapping == "strided":
        parts = [tuple(names[start::banks]) for start in range(banks)]
    else:
        ends = [round(len(names) * bank / banks) for bank in range(banks + 1)]
        parts = [tuple(names[start:end]) for start, end in pairwise(ends)]
    return tuple(part for part in parts if len(part) > 1)


def mapping_of(names: Sequence[str], blocks: Blocks) -> tuple[str, int]:
    """The simplest mapping, and the number of banks, that makes these blocks.

    For a free mapping the number means nothing.
    """
    for mapping in ("in order", "strided"):
        for banks in range(1, len(names)):
            if spread(names, banks, mapping) == blocks:
                return mapping, banks
    return "free", 0


def random_partition(names: Sequence[str], sizes: Collection[int], rng: random.Random) -> Blocks:
    """The number of blocks evenly, then a block for each site; blocks of a wrong size dissolve.

    Uniform over partitions would hardly ever draw the strongly shared ones.
    """
    shuffled = rng.sample(names, len(names))
    banks = rng.randint(1, len(names))
    parts = [[name] for name in shuffled[:banks]]
    for name in shuffled[banks:]:
        rng.choice(parts).append(name)
    return tidy(names, parts, sizes)


def tidy(names: Sequence[str], parts: Iterable[Sequence[str]], sizes: Collection[int]) -> Blocks:
    """The allowed ones of ``parts``, their sites in the order of ``names``."""
    place = {name: number for number, name in enumerate(names)}
    blocks = [tuple(sorted(part, key=place.__getitem__)) for part in parts if len(part) in sizes]
    return tuple(sorted(blocks, key=lambda block: place[block[0]]))


def steps(names: Sequence[str], blocks: Blocks) -> Iterator[Iterable[Sequence[str]]]:
    """Partitions one step away: a site moved, two blocks merged, a block split.

    Blocks of any size come out; ``tidy`` sorts out what is allowed.
    """
    alone = [(name,) for name in names if not any(name in block for block in blocks)]
    parts: list[Block] = [*blocks, *alone]
    for one, two in combinations(range(len(parts)), 2):
        rest = [part for place, part in enumerate(parts) if place not in (one, two)]
        yield [*rest, parts[one] + parts[two]]
    for source, part in enumerate(parts):
        rest = [*parts[:source], *parts[source + 1 :]]
        for half in _halves(part):
            yield [*rest, half, tuple(name for name in part if name not in half)]
        if len(part) > 1:
            for name in part:
                left = tuple(other for other in part if other != name)
                for target, other in enumerate(rest):
                    yield [*rest[:target], *rest[target + 1 :], (*other, name), left]


def _halves(block: Block) -> Iterator[Block]:
    """One side of each split of a block that is looked at."""
    if len(block) <= WHOLE_CUTS:
        first, others = block[0], block[1:]
        for size in range(len(others)):
            for chosen in combinations(others, size):
                yield (first, *chosen)
        return
    yield from (block[:cut] for cut in range(1, len(block)))
    yield block[::2]
    yield from ((name,) for name in block[1:-1])


def _all_partitions(names: Block) -> Iterator[Blocks]:
    """With the blocks of one: each is a partition of the names before, plus one more name."""
    if not names:
        yield ()
        return
    for blocks in _all_partitions(names[:-1]):
        for place, block in enumerate(blocks):
            yield (*blocks[:place], (*block, names[-1]), *blocks[place + 1 :])
        yield (*blocks, (names[-1],))
