"""What a search has won over what one would do without it, in sentences: over the unshared network,
over plans that people made by hand, and over random plans.

Seeds are common to all plans, so plans are compared seed by seed: the standard error is that of the
differences, which is smaller than that of either mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from isoshare.search.jobs import SEARCHED
from isoshare.search.pareto import Axis
from isoshare.search.results.choose import merit_axis
from isoshare.search.results.describe import counted
from isoshare.search.results.study_results import Results
from isoshare.storage.records import TrialRecord

COSTS = ("parameters", "macs")
"""What a plan may cost at most to be compared with another one, as far as it is known."""
SURE = 2.0
"""Standard errors from which a difference is called one."""


@dataclass(frozen=True)
class Gain:
    """How much better the best plan of the front is that costs no more than ``reference``.

    difference: in the direction of the objective, so that more is better. error: its standard
    error, None for fewer than two common seeds.
    """

    reference: TrialRecord
    found: TrialRecord
    difference: float
    error: float | None

    @property
    def is_noise(self) -> bool:
        """Whether it may be the luck of the seeds alone."""
        return self.error is not None and abs(self.difference) <= SURE * self.error


def gains_in_words(results: Results) -> tuple[str, ...]:
    """A sentence for each kind of reference that was measured; none without a measured objective
    and the number of parameters.
    """
    axis = merit_axis(results.front)
    members = [one for one in results.front.members if one.value("parameters") is not None]
    if not any(one.samples(axis.name) for one in members):
        return ()
    said = [
        *_beside_unshared(results, members, axis),
        *_beside_hand_made(results, members, axis),
        *_beside_random(results, members, axis),
    ]
    if said:
        said.append(
            "These are differences on validation data, which have also chosen the plans: those in "
            "favour of the search are a little too large."
        )
    return tuple(said)


def gains_over(
    references: Iterable[TrialRecord], members: Sequence[TrialRecord], axis: Axis
) -> Iterator[Gain]:
    """Of each reference that is not on the front itself, at no more parameters and operations."""
    for reference in references:
        able = [one for one in members if _costs_no_more(one, reference)]
        if reference not in members and able and reference.value(axis.name) is not None:
            yield _gain(max(able, key=lambda one: _worth(one, axis)), reference, axis)


def _beside_unshared(results: Results, members: Sequence[TrialRecord], axis: Axis) -> Iterator[str]:
    """The smallest plan that is as good, and the best of at most half the parameters."""
    whole = next((one for one in results.finished if one.origin == "unshared"), None)
    if whole is None:
        return
    gains = [_gain(one, whole, axis) for one in members if one.number != whole.number]
    as_good = [gain for gain in gains if gain.difference >= 0 or gain.is_noise]
    least = min(as_good, key=lambda gain: _parameters(gain.found), default=None)
    if least is not None:
        share = _share(least)
        yield f"With {share} of the parameters of the unshared network, {_said(least, axis)}."
    half = [gain for gain in gains if _parameters(gain.found) <= _parameters(whole) / 2]
    best = max(half, key=lambda gain: gain.difference, default=None)
    if best is not None and (least is None or best.found != least.found):
        its = "its" if least is not None else "the unshared network's"
        yield f"With {_share(best)} of {its} parameters, {_said(best, axis)}."


def _beside_hand_made(
    results: Results, members: Sequence[TrialRecord], axis: Axis
) -> Iterator[str]:
    """Warm starts: the plans of the papers, and sharing everything by one method."""
    made = [one for one in results.finished if _is_hand_made(one)]
    beaten = [gain for gain in gains_over(made, members, axis) if gain.difference > 0]
    if not made:
        return
    said = f"Of {counted(len(made), 'plan')} made by hand, {len(beaten) or 'none'} "
    said += "is beaten" if len(beaten) < 2 else "are beaten"
    if beaten:
        most = max(beaten, key=lambda gain: gain.difference)
        said += f" at no higher cost, by {_mean(beaten, axis)}"
        said += f" on average and {_size(most, axis)} at most" if len(beaten) > 1 else ""
        said += f" ({_name(most.reference)})"
    front = [_name(one) for one in made if one in members]
    kept = f"; on the front itself: {', '.join(front)}" if front else ""
    yield f"{said}{kept}."


def _beside_random(results: Results, members: Sequence[TrialRecord], axis: Axis) -> Iterator[str]:
    drawn = [one for one in results.finished if one.origin == "random"]
    gains = list(gains_over(drawn, members, axis))
    if len(gains) > 1:
        yield (
            f"At no higher cost, the front is {_mean(gains, axis)} better than {len(gains)} random "
            "plans on average."
        )


def _costs_no_more(one: TrialRecord, other: TrialRecord) -> bool:
    pairs = [(one.value(cost), other.value(cost)) for cost in COSTS]
    known = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
    return bool(known) and all(mine <= theirs for mine, theirs in known)


def _gain(found: TrialRecord, reference: TrialRecord, axis: Axis) -> Gain:
    mine, theirs = _by_seed(found, axis), _by_seed(reference, axis)
    common = [seed for seed in mine if seed in theirs]
    if len(common) < 2:
        return Gain(reference, found, _worth(found, axis) - _worth(reference, axis), None)
    differences = [mine[seed] - theirs[seed] for seed in common]
    return Gain(reference, found, fmean(differences), stdev(differences) / sqrt(len(common)))


def _by_seed(trial: TrialRecord, axis: Axis) -> dict[int, float]:
    """What counts of each seed, larger is better; the last of several epochs."""
    made = [m for m in trial.measurements if m.split == "validation" and axis.name in m.values]
    made.sort(key=lambda m: m.fidelity.get("epochs", 0))
    return {m.seed: -axis.sign * m.values[axis.name] for m in made}


def _worth(trial: TrialRecord, axis: Axis) -> float:
    value = trial.value(axis.name)
    return float("-inf") if value is None else -axis.sign * value


def _parameters(trial: TrialRecord) -> float:
    return trial.value("parameters") or 0.0


def _share(gain: Gain) -> str:
    return f"{_parameters(gain.found) / max(1.0, _parameters(gain.reference)):.0%}"


def _said(gain: Gain, axis: Axis) -> str:
    """``trial 7 is as accurate (0.3 ± 0.4 points less)``, ``trial 7 is 1.3 ± 0.4 points less
    accurate``."""
    is_more = gain.difference >= 0
    accurate = axis.name == "accuracy"
    size = f"{_size(gain, axis)} {_better(is_more, accurate)}"
    if gain.is_noise:
        good = "as accurate" if accurate else f"as good in {axis.name}"
        return f"trial {gain.found.number} is {good} ({size})"
    return f"trial {gain.found.number} is {size} {'accurate' if accurate else f'in {axis.name}'}"


def _better(is_more: bool, accurate: bool) -> str:
    return ("more" if is_more else "less") if accurate else ("better" if is_more else "worse")


def _is_hand_made(trial: TrialRecord) -> bool:
    """Other unshared networks, where the search varies them, are a curve of their own
    (search/results/scaling_alone.py)."""
    return trial.origin not in SEARCHED and bool(trial.plan.banks)


def _name(trial: TrialRecord) -> str:
    """Of a plan that was made by hand: ``start: kernel`` is the method wherever it can be."""
    method = trial.origin.removeprefix("start: ")
    return trial.origin if method == trial.origin else f"{method} everywhere"


def _size(gain: Gain, axis: Axis) -> str:
    return _number(abs(gain.difference), gain.error, axis)


def _mean(gains: Sequence[Gain], axis: Axis) -> str:
    """Of several references, with the standard error over them."""
    differences = [gain.difference for gain in gains]
    several = len(gains) > 1
    return _number(
        fmean(differences), stdev(differences) / sqrt(len(gains)) if several else None, axis
    )


def _number(value: float, error: float | None, axis: Axis) -> str:
    """Accuracies are told in points of a hundred."""
    if axis.name == "accuracy":
        spread = "" if error is None else f" ± {100 * error:.1f}"
        return f"{100 * value:.1f}{spread} points"
    return f"{value:.4g}" + ("" if error is None else f" ± {error:.2g}")
