"""Scaling alone: the unshared networks of a search that varies its backbone, and what sharing adds.

Of the unshared variants those count that no other one beats. Between two of them the value is
interpolated, linearly over the logarithm of the parameters, and so is its standard error; beyond
them nothing is said.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
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
    if not results.study.context.variants:
        return ()
    axis = merit_axis(results.front)
    plain = [trial for trial in results.finished if not trial.plan.banks]
    return best_of([_sized(trial, axis) for trial in plain], axis.sign)


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
    axis = merit_axis(results.front)
    members = (_sized(trial, axis) for trial in results.front.members if trial.plan.banks)
    found = (above(curve, network) for network in members)
    known = [one for one in found if one is not None]
    return tuple(sorted(known, key=lambda one: one.parameters))


def sharing_in_words(results: Results, trial: TrialRecord | None = None) -> str | None:
    """``sharing is 1.2 ± 0.4 points above scaling at 120,000 parameters``; None where nothing can
    be compared. trial: of which it is said if that can be, or else of the member of the front that
    is nearest to it in size; by default the knee.
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
    return _in_words(told, axis.name)


def scaling_json(results: Results) -> dict[str, Any]:
    """What ``pareto --json`` says of it; empty where the search varies nothing."""
    curve = scaling_curve(results)
    if not curve:
        return {}
    return {
        "scaling_alone": [vars(one) for one in curve],
        "above_scaling": [vars(one) for one in above_scaling(results)],
        "sharing": sharing_in_words(results),
    }


def _in_words(told: Difference, objective: str) -> str:
    scale, unit = (100, " points") if objective in POINTS else (1, "")
    digits = ".1f" if objective in POINTS else ".3g"
    size = f"{scale * abs(told.difference):{digits}}"
    error = "" if told.error is None else f" ± {scale * told.error:{digits}}"
    way = "above" if told.difference >= 0 else "below"
    price = "" if told.operations is None else f" and {told.operations:.2g} times the operations"
    return (
        f"sharing is {size}{error}{unit} {way} scaling at {told.parameters:,.0f} parameters{price}"
    )


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
