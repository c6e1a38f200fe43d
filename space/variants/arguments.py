"""The variants of a backbone: combinations of the arguments that a search varies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product

from isoshare.space.backbones import Argument
from isoshare.space.errors import listed
from isoshare.space.plan import Variant

Values = Mapping[str, Sequence[Argument]]
"""The values that each argument may take, in the order in which they are stepped through."""
NAMED = 4
"""Variants that a sentence names."""


def combinations(values: Values) -> Iterator[Variant]:
    """All variants, possible or not; none of no arguments."""
    names = sorted(values)
    if names:
        for chosen in product(*(values[name] for name in names)):
            yield tuple(zip(names, chosen, strict=True))


def label(variant: Variant) -> str:
    """A variant as it is typed: ``depth=14 width=8``."""
    return " ".join(f"{name}={typed(value)}" for name, value in variant)


def labels(variants: Sequence[Variant]) -> str:
    """The first variants in a sentence, and how many more there are."""
    return listed([label(variant) for variant in variants], NAMED)


def typed(value: Argument) -> str:
    """A value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def neighbouring(
    variant: Variant, values: Values, possible: Collection[Variant]
) -> Iterator[Variant]:
    """Variants that differ in one argument by one step among its values; a step that leads to no
    possible variant leads on to the next.
    """
    chosen = dict(variant)
    for name, value in variant:
        place = values[name].index(value)
        for way in (reversed(values[name][:place]), values[name][place + 1 :]):
            stepped = (tuple({**chosen, name: other}.items()) for other in way)
            found = next((one for one in stepped if one in possible), None)
            if found is not None:
                yield found


def nearest(variant: Variant, values: Values, possible: Collection[Variant]) -> Variant:
    """The possible variant that is the fewest steps away, the first of several."""

    def steps(other: Variant) -> int:
        pairs = zip(variant, other, strict=True)
        return sum(
            abs(values[name].index(one) - values[name].index(two))
            for (name, one), (_, two) in pairs
        )

    return min(possible, key=steps)
