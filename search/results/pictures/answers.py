"""Pictures that answer questions about a search, as plain values for plotly.js: did it still learn,
who worked when, which groups do good plans share, and what does sharing a group cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from isoshare.search.pareto import Axis
from isoshare.search.results.pictures.figures import Point, axis_title, method_of
from isoshare.search.results.timeline import timeline
from isoshare.space.methods import METHODS
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import Site, describe_signature, isomorphic_groups
from isoshare.storage.records import TrialRecord

FAINT = 0.8
"""Of what is not on the front: thin as well, its contrast stays above 3 to 1."""
MOST_LINES, MOST_BARS = 150, 400
"""More lines hide each other; more bars are narrower than a pixel."""
Plot = dict[str, Any]
UNITS = ((180.0, 1.0, "seconds"), (10_800.0, 60.0, "minutes"), (259_200.0, 3600.0, "hours"))


def unit_of(seconds: float) -> tuple[float, str]:
    """Seconds in a unit in which so long a time is a small number, and its name."""
    fitting = ((size, name) for limit, size, name in UNITS if seconds <= limit)
    return next(fitting, (86_400.0, "days"))


def by_trial_plot(points: Sequence[Point], axis: Axis) -> Plot:
    """The first objective of each trial against its number, and the best so far."""
    known = sorted(points, key=lambda point: point.number)
    best: list[float] = []
    for point in known:
        ahead = not best or axis.sign * point.y < axis.sign * best[-1]
        best.append(point.y if ahead else best[-1])
    numbers = [point.number for point in known]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "trials",
        "x": numbers,
        "y": [point.y for point in known],
        "error_y": {"array": [point.error for point in known], "thickness": 1, "width": 2},
        "marker": {"size": 7, "color": "kernel"},
        "customdata": numbers,
        "hovertemplate": "trial %{x}<br>%{y:.4g}<extra></extra>",
    }
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": numbers,
        "y": best,
        "line": {"shape": "hv", "width": 1.5, "color": "accent"},
        "hoverinfo": "skip",
    }
    return {"x": {"title": "trial"}, "y": {"title": axis_title(axis)}, "traces": [line, dots]}


def timeline_plot(trials: Sequence[TrialRecord], since: datetime) -> Plot:
    """A bar for each trial, in lanes: how well the workers are used."""
    spans = timeline(trials)[-MOST_BARS:]
    longest = max(((span.ended - since).total_seconds() for span in spans), default=0.0)
    size, name = unit_of(longest)
    kinds = dict.fromkeys(method_of(span.trial.plan) for span in spans)
    traces = []
    for kind in kinds:
        of_kind = [span for span in spans if method_of(span.trial.plan) == kind]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": kind.replace("_", " "),
                "base": [(span.begun - since).total_seconds() / size for span in of_kind],
                "x": [(span.ended - span.begun).total_seconds() / size for span in of_kind],
                "y": [span.lane + 1 for span in of_kind],
                "width": 0.8,
                "marker": {"color": kind, "line": {"width": 1, "color": "paper"}},
                "customdata": [span.trial.number for span in of_kind],
                "hovertemplate": f"trial %{{customdata}}<br>%{{x:.3g}} {name}<extra></extra>",
            }
        )
    few = max((span.lane for span in spans), default=0) < 8
    lanes = {"title": "at the same time", "whole": 1 if few else 5}
    return {"x": {"title": f"{name} since the start"}, "y": lanes, "traces": traces}


def groups_plot(
    trials: Sequence[TrialRecord], sites: Sequence[Site], axis: Axis, front: set[int]
) -> Plot:
    """Parallel coordinates: how much of each isomorphic group a plan shares, and what came of it.

    One line for each trial, those on the front last; the objective stands between its worst and its
    best value.
    """
    groups = isomorphic_groups(sites)
    known = [(value, one) for one in trials if (value := one.value(axis.name)) is not None]
    shown = sorted(known, key=lambda pair: pair[1].number in front)[-MOST_LINES:]
    values = [value for value, _ in shown] or [0.0]
    low, high = min(values), max(values)
    names = [f"{describe_signature(group[0].signature)} ({len(group)})" for group in groups]
    traces = [
        _line(
            trial,
            [*names, axis.name],
            [*(saved_of(trial.plan, group) for group in groups), _share(value, low, high)],
            trial.number in front,
        )
        for value, trial in shown
    ]
    shares = {"title": "kernels saved", "percent": True}
    return {"x": {"title": "isomorphic group (sites)"}, "y": shares, "traces": traces}


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 1.0


def _line(trial: TrialRecord, names: list[str], shares: list[float], is_member: bool) -> Plot:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"trial {trial.number}",
        "x": names,
        "y": shares,
        "line": {"width": 2.5 if is_member else 1, "color": method_of(trial.plan)},
        "marker": {"size": 5 if is_member else 3},
        "opacity": 1.0 if is_member else FAINT,
        "customdata": [trial.number] * len(names),
        "hovertemplate": f"trial {trial.number}<br>%{{x}}: %{{y:.0%}}<extra></extra>",
    }


def saved_of(plan: SharingPlan, group: Sequence[Site]) -> float:
    """The share of the kernels of a group that its banks make superfluous: 0 if all are private."""
    names = {site.name for site in group}
    inside = [len(names.intersection(bank.sites)) for bank in plan.banks]
    return sum(count - 1 for count in inside if count > 1) / max(1, len(names) - 1)


def effects_plot(effects: Sequence[tuple[str, str, float, float]], axis: Axis) -> Plot:
    """What sharing a whole group costs: (group, method, mean, standard deviation)."""
    traces = []
    for method in METHODS:
        rows = [row for row in effects if row[1] == method]
        if rows:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": method.replace("_", " "),
                    "x": [row[2] for row in rows],
                    "y": [row[0] for row in rows],
                    "orientation": "h",
                    "offsetgroup": method,
                    "error_x": {"array": [row[3] for row in rows], "color": method, "width": 4},
                    "marker": {"size": 11, "color": method},
                    "hovertemplate": "%{y}<br>%{x:.4f} ± %{error_x.array:.4f}<extra></extra>",
                }
            )
    title = f"change of {axis.name}"
    of_group = {"title": "", "beside_each_other": True}
    return {"x": {"title": title, "zero": True}, "y": of_group, "traces": traces}
