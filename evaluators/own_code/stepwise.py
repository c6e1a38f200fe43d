"""A function that is suspended while whoever called it looks at what it has handed over.

Generators can do that only for functions that are written as generators, and a thread would take
the user's training out of the main thread, where signals, Lightning and notebooks want it to be. A
greenlet stays in the thread of its caller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")
HandOver = Callable[[T], bool]
"""Takes a thing; returns whether no more are wanted."""


def stepwise(work: Callable[[HandOver[T]], Any]) -> Generator[T, None, Any]:
    """What ``work`` hands over, one thing after another; what it returns is the generator's value.

    Closing the generator is an answer too: ``work`` is told that no more is wanted, and is let go
    on to its end; what it returns or raises then is dropped.
    """

    def hand_over(thing: T) -> bool:
        return bool(inner.parent.switch(thing))

    inner = greenlet(lambda: work(hand_over))
    thing = inner.switch()
    while not inner.dead:
        try:
            yield thing
        except GeneratorExit:
            inner.parent = getcurrent()
            with suppress(Exception):
                inner.switch(True)
            raise
        inner.parent = getcurrent()  # the caller may not be who it was
        thing = inner.switch(False)
    return thing
