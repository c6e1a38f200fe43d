"""What a study found as tables for people and as JSON for other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from isoshare.search.pareto import Front, knee, with_unit
from isoshare.search.results.describe import (
    duration_in_words,
    plan_in_short,
    roughly,
    with_error,
)
from isoshare.search.results.front_probability import on_front
from isoshare.search.results.scaling_alone import scaling_json, sharing_in_words
from isoshare.search.results.study_results import Results, excluded_in_words
from isoshare.space.methods import METHODS
from isoshare.space.plan import SCHEMA
from isoshare.storage.records import StudyRecord, TrialRecord

WIDE = [name for name, row in METHODS.items() if row.network_wide]
PLACES, LITTLE = 5, 0.01
"""So many places where the parameters are that sharing cannot touch are shown, none of less."""


def front_table(results: Results) -> Table:
    """The front, one plan a row, the knee marked; ``share`` is of the unshared network, ``on
    front`` the probability that a plan is truly on it.
    """
    study, front = results.study, results.front
    said = filter(None, (sharing_in_words(results), excluded_in_words(results)))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="\n".join(said) or None)
    table.caption_justify = "left"
    table.add_column("trial", justify="right", no_wrap=True)
    for axis in front.axes:
        table.add_column(with_unit(axis), justify="right", no_wrap=True)
    tested = any(trial.samples("accuracy", "test") for trial in front.members)
    if tested:
        table.add_column("on test", justify="right", no_wrap=True)
    likely = on_front(results)
    if likely:
        table.add_column("on front", justify="right", no_wrap=True)
    table.add_column("share", justify="right")
    table.add_column("plan: kernels/sites of each shape")
    best = knee(front).number if front.members else None
    for trial in front.members:
        cells = [f"{trial.number}{' ◆' if trial.number == best else ''}"]
        cells += [with_error(trial, axis.name) for axis in front.axes]
        cells += [with_error(trial, "accuracy", "test")] if tested else []
        cells += [f"{likely[trial.number]:.0%}"] if likely else []
        cells += [
            _share(study, trial),
            plan_in_short(trial.plan, study.context.of(trial.plan).sites),
        ]
        table.add_row(*cells)
    return table


def front_json(results: Results) -> dict[str, Any]:
    """What ``pareto --json`` prints."""
    study, front = results.study, results.front
    likely = on_front(results)
    return {
        "study": study.name,
        "objectives": [axis.name for axis in front.axes],
        "directions": {axis.name: axis.direction for axis in front.axes},
        "reference_point": front.reference_point,
        "hypervolume": front.hypervolume,
        "trials": len(results.outcomes),
        "failed": sum(trial.state == "failed" for trial in results.outcomes),
        "excluded": len(front.excluded),
        "stopped": sum(trial.state == "stopped" for trial in results.outcomes),
        "front": [
            _member_json(study, front, trial, likely.get(trial.number)) for trial in front.members
        ],
        **scaling_json(results),
    }


def backbone_view(found: Mapping[str, Any]) -> Group:
    """What can be shared in a backbone."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("shape")
    table.add_column("sites", justify="right")
    table.add_column("isomorphic layers, in order")
    for group in found["groups"]:
        table.add_row(group["shape"], str(len(group["sites"])), ", ".join(group["sites"]))
    references = found["references"]
    notes = [f"{row['site']} stays private: {row['reason']}" for row in found["left_private"]]
    return Group(
        f"{found['backbone']}: {found['parameters']:,} parameters; one kernel for every group "
        f"leaves {found['fully_shared']:,}",
        f"reach {found['reach']:.0%}: the share of parameters in isomorphic groups, the most that "
        f"sharing can touch ({found['wide_reach']:.0%} by {' or '.join(WIDE)}, for which kernels "
        "of one size are enough)",
        *_rest_lines(found),
        f"{found['plans']:,} distinct plans of kernel sharing, "
        f"{roughly(found['plans_of_all_methods'])} of all methods",
        table,
        *(f"published: {name}, {size:,} parameters" for name, size in references.items()),
        *notes,
        *_weights_line(found.get("weights")),
    )


def _rest_lines(found: Mapping[str, Any]) -> list[str]:
    """Where the parameters outside of isomorphic groups are, the largest parts first."""
    lines = []
    for place in found["out_of_reach"][:PLACES]:
        share, modules = place["parameters"] / found["parameters"], place["modules"]
        if share < LITTLE:
            break
        names = modules[0] if len(modules) == 1 else f"{len(modules)}, the largest {modules[0]}"
        lines.append(f"  {share:.0%} out of reach: {place['what']} ({names})")
    return lines


def _weights_line(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    head = f"; {' and '.join(found['new_head'])} start afresh" if found["new_head"] else ""
    where = f" under {found['entry']!r}" if found["entry"] else ""
    others = f"; others lie under {', '.join(found['others'])}" if found["others"] else ""
    what = f"{found['tensors']} tensors of {found['file'] or 'its own'}"
    return [f"weights: all fit, {what}{where}{others}{head}"]


def outlook_view(found: Mapping[str, Any]) -> Group:
    """What a search is about to do."""
    groups = ", ".join(f"{group['sites']} of {group['shape']}" for group in found["groups"])
    return Group(
        f"{found['backbone']} on {found['dataset']}: {found['parameters']:,} parameters, "
        f"{found['smallest']:,} with the smallest plan",
        f"reach {found['reach']:.0%}: the share of parameters that sharing can touch, in {groups}",
        f"{roughly(found['plans'])} distinct plans, of which {found['trials']:,} are measured",
        duration_in_words(found),
        *found["notes"],
    )


def plan_view(found: Mapping[str, Any]) -> Group:
    """What a plan makes of its backbone."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("bank", justify="right")
    table.add_column("method")
    table.add_column("sites that share")
    for place, bank in enumerate(found["banks"], start=1):
        options = " ".join(f"{key}={value}" for key, value in bank["options"].items())
        table.add_row(str(place), f"{bank['method']} {options}".strip(), ", ".join(bank["sites"]))
    counts = found["parameters"]
    return Group(
        f"{found['backbone']}: {counts['shared']:,} of {counts['unshared']:,} parameters "
        f"({found['ratio']:.0%}), fingerprint {found['fingerprint']}",
        *(
            f"on a device in {target}: {held['shared']:,} of {held['unshared']:,} bytes"
            for target, held in (found["device_bytes"] or {}).items()
        ),
        table,
    )


def published_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The networks and plans of the papers, one a row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("network and plan", "backbone", "paper"):
        table.add_column(name)
    for name in ("unshared", "shared"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (f"{row['unshared']:,}", f"{row['shared']:,}")
        title = f"{row['title']} *" if row["reading"] else row["title"]
        table.add_row(title, row["backbone"], row["paper"], *counts)
    marked = {row["reading"]: row["network"] for row in rows if row["reading"]}
    table.caption = "\n".join(f"* {network}: {reading}" for reading, network in marked.items())
    table.caption_justify = "left"
    return table


def trained_view(done: Mapping[str, Any]) -> str:
    """What a full training has made, and how it is used."""
    before = done.get("unshared")
    beside = (
        f" (unshared {before['test_accuracy']:.4f}), loss {done['test_loss']:.4f} "
        f"({before['test_loss']:.4f})"
        if before
        else ""
    )
    return (
        f"{done['test_accuracy']:.4f} of the test images are right{beside}; wrote "
        f"{done['parameters']:,} parameters ({done['bytes']:,} bytes) to {done['weights']}\n\n"
        f"in Python\n  from isoshare.space.weights.saving import load_network\n"
        f"  network = load_network({done['weights']!r})"
    )


def reproduction_view(found: Mapping[str, Any]) -> Group:
    """What was recorded beside what came out again."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("objective", "images"):
        table.add_column(name)
    for name in ("seeds", "recorded", "reproduced"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in found["objectives"]:
        numbers = (
            _with_spread(row[name], row[f"{name}_error"]) for name in ("recorded", "reproduced")
        )
        seeds = str(row["seeds"] or "-")
        table.add_row(row["objective"], row["split"], seeds, *numbers, row["verdict"])
    changed = ", ".join(found["changed"])
    return Group(table, f"not as it was: {changed}" if changed else "same versions and device")


def _with_spread(value: float, error: float | None) -> str:
    if float(value).is_integer() and error is None:
        return f"{int(value):,}"
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"


def _member_json(
    study: StudyRecord, front: Front, trial: TrialRecord, likely: float | None
) -> dict[str, Any]:
    order = [site.name for site in study.context.of(trial.plan).sites]
    names = [axis.name for axis in front.axes]
    errors = {name: trial.error_bar(name) for name in names}
    return {
        "trial": trial.number,
        "fingerprint": trial.plan.fingerprint,
        **{name: _plain(trial.value(name)) for name in names},
        "standard_error": {name: error for name, error in errors.items() if error is not None},
        "test": {name: v for name in names if (v := trial.value(name, "test")) is not None},
        **({} if likely is None else {"on_front": round(likely, 4)}),
        "plan": {"schema": SCHEMA, "banks": trial.plan.documents(order)},
        **({"arguments": dict(trial.plan.variant)} if trial.plan.variant else {}),
    }


def _plain(value: float | None) -> float | int | None:
    """Counts as whole numbers."""
    return int(value) if value is not None and float(value).is_integer() else value


def _share(study: StudyRecord, trial: TrialRecord) -> str:
    parameters = trial.exact.get("parameters")
    return "-" if parameters is None else f"{parameters / study.context.unshared:.0%}"
