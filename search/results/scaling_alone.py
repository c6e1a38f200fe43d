"""Scaling alone: the unshared networks of a search that varies its backbone, and what sharing adds.

Of the unshared variants those count that no other one beats. Between two of them the value is
interpolated, linearly over the logarithm of the parameters, and so is its standard error; beyond
them nothing is said. Where operations are known, a shared network is also compared with those alone
that take at most as many as it does.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from isoshare.search.pareto import Axis, knee
from isoshare.search.results.choose import merit_axis
from isoshare.search.results.study_results import Results
from isoshare.storage.records import TrialRecord

POINTS = ("accuracy",)
"""Objectives whose differences are told in points, hundredths."""


@dataclass(frozen=True)
class Sized:
    """What a network reaches with its size; error: the standard error of its value, if it has one;
    macs: its operations, where they are known.
    """

    trial: int
    parameters: float
    value: float
    error: float | None
    macs: float | None = None


@dataclass(frozen=True)
class Difference:
    """How far a shared network lies above scaling alone at equal parameters; error: the standard
    error of that, None where either was measured with one seed. operations: how many times those
    of scaling alone it takes, where the study knows them.
    """

    trial: int
    parameters: float
    difference: float
    error: float | None
    operations: float | None = None


def scaling_curve(results: Results) -> tuple[Sized, ...]:
    """The best unshared networks by ascending parameters; empty unless the search varies them."""
    return best_of(_unshared(results), merit_axis(results.front).sign)


def _unshared(results: Results) -> list[Sized]:
    """The unshared networks of a search that varies them."""
    if not results.study.context.variants:
        return []
    axis = merit_axis(results.front)
    return [_sized(trial, axis) for trial in results.finished if not trial.plan.banks]


def best_of(networks: Sequence[Sized], sign: float) -> tuple[Sized, ...]:
    """Those that no smaller one reaches, by ascending parameters. sign: -1 where more is better."""
    best: list[Sized] = []
    for one in sorted(networks, key=lambda one: (one.parameters, one.value)):
        if not best or sign * one.value < sign * best[-1].value:
            best = [other for other in best if other.parameters < one.parameters]
            best.append(one)
    return tuple(best)


def above_scaling(results: Results) -> tuple[Difference, ...]:
    """What the shared networks on the front are worth, where the curve tells, by ascending
    parameters.
    """
    curve = scaling_curve(results)
    return _known(above(curve, network) for network in _shared(results))


def above_frugal(results: Results) -> tuple[Difference, ...]:
    """The same beside the unshared networks alone that take at most the operations of the shared
    one; none where operations are not known.
    """
    networks, sign = _unshared(results), merit_axis(results.front).sign
    return _known(above_at_most(networks, network, sign) for network in _shared(results))


def above_at_most(networks: Sequence[Sized], network: Sized, sign: float) -> Difference | None:
    """How far a shared network lies above those unshared ``networks`` that take at most as many
    operations; None where these have no curve at its size. sign: as in ``best_of``.
    """
    most = -math.inf if network.macs is None else network.macs
    frugal = [one for one in networks if one.macs is not None and one.macs <= most]
    return above(best_of(frugal, sign), network)


def _shared(results: Results) -> Iterator[Sized]:
    axis = merit_axis(results.front)
    return (_sized(trial, axis) for trial in results.front.members if trial.plan.banks)


def _known(found: Iterable[Difference | None]) -> tuple[Difference, ...]:
    known = [one for one in found if one is not None]
    return tuple(sorted(known, key=lambda one: one.parameters))


def sharing_in_words(results: Results, trial: TrialRecord | None = None) -> str | None:
    """``sharing is 1.2 ± 0.4 points above scaling at 120,000 parameters``; None where nothing can
    be compared. Where operations are known, also how it is beside networks that take at most as
    many. trial: of which it is said if that can be, or else of the member of the front that is
    nearest to it in size; by default the knee.
    """
    if not results.front.members:
        return None
    wanted, axis = trial or knee(results.front), merit_axis(results.front)
    own = above(scaling_curve(results), _sized(wanted, axis)) if wanted.plan.banks else None
    found = (own,) if own else above_scaling(results)
    if not found:
        return None
    size = math.log(wanted.value("parameters") or 1)
    told = min(found, key=lambda one: abs(math.log(one.parameters) - size))
    said = f"sharing is {_in_words(told, axis.name)} scaling at {told.parameters:,.0f} parameters"
    if told.operations is None:
        return said
    trials = (wanted, *results.front.members)
    network = next(_sized(one, axis) for one in trials if one.number == told.trial)
    frugal = above_at_most(_unshared(results), network, axis.sign)
    return f"{said} and {told.operations:.2g} times the operations; {_beside(frugal, axis.name)}"


def scaling_json(results: Results) -> dict[str, Any]:
    """What ``pareto --json`` says of it; empty where the search varies nothing."""
    curve = scaling_curve(results)
    if not curve:
        return {}
    return {
        "scaling_alone": [vars(one) for one in curve],
        "above_scaling": [vars(one) for one in above_scaling(results)],
        "above_scaling_at_most_equal_macs": [vars(one) for one in above_frugal(results)],
        "sharing": sharing_in_words(results),
    }


def _beside(frugal: Difference | None, objective: str) -> str:
    """What is said of scaling at no more operations."""
    if frugal is None:
        return "unshared networks of that size with at most its operations were not measured"
    at = "at equal parameters and at most equal operations"
    return f"{at} it is {_in_words(frugal, objective)} scaling"


def _in_words(told: Difference, objective: str) -> str:
    """``1.2 ± 0.4 points above``."""
    scale, unit = (100, " points") if objective in POINTS else (1, "")
    digits = ".1f" if objective in POINTS else ".3g"
    size = f"{scale * abs(told.difference):{digits}}"
    error = "" if told.error is None else f" ± {scale * told.error:{digits}}"
    return f"{size}{error}{unit} {'above' if told.difference >= 0 else 'below'}"


def above(curve: Sequence[Sized], network: Sized) -> Difference | None:
    """How far a shared network lies above scaling alone; None where it lies beyond the curve."""
    if len(curve) < 2 or not curve[0].parameters <= network.parameters <= curve[-1].parameters:
        return None
    right = max(1, bisect_left([one.parameters for one in curve], network.parameters))
    before, after = curve[right - 1], curve[right]
    steps = (network.parameters / before.parameters, after.parameters / before.parameters)
    part = math.log(steps[0]) / math.log(steps[1])
    expected = (1 - part) * before.value + part * after.value
    known = [one.error for one in (network, before, after) if one.error is not None]
    error = None
    if len(known) == 3:
        weights = (1.0, 1 - part, part)
        error = math.hypot(*(weight * one for weight, one in zip(weights, known, strict=True)))
    price = _times(network.macs, before.macs, after.macs, part)
    worth = network.value - expected
    return Difference(network.trial, network.parameters, worth, error, price)


def _times(
    macs: float | None, before: float | None, after: float | None, part: float
) -> float | None:
    """How many times the operations between two networks, interpolated by their logarithms."""
    if macs is None or before is None or after is None:
        return None
    return macs / math.exp((1 - part) * math.log(before) + part * math.log(after))


def _sized(trial: TrialRecord, axis: Axis) -> Sized:
    parameters, value = trial.value("parameters"), trial.value(axis.name)
    assert parameters is not None, "every trial has its parameters"
    assert value is not None, "finished trials have all values"
    error, macs = trial.error_bar(axis.name), trial.value("macs")
    return Sized(trial.number, parameters, value, error, macs)
