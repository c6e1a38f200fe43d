"""docs/results.md and its pictures, made from the files in benchmarks/results/.

    python benchmarks/results_page.py

The words stand in benchmarks/results_page.md, every figure in those files; each section names the
command that fills its own.
"""

from __future__ import annotations

import sys
import textwrap
from collections import ChainMap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import at_scale, joint_search, opponents
from benchmarks import scaling_and_sharing as scaling
from benchmarks.kept import Row, kept
from benchmarks.searchers import SEARCHERS
from isoshare.search.results.pictures.drawing import BLUE, GREY
from isoshare.search.results.scaling_alone import Difference, above

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
WORDS = Path(__file__).with_suffix(".md")
KEPT = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
PAIRS = "neighbours tied in pairs"
LONGER = {"pairs": PAIRS, "tied": "everything tied"}
"""For plans of projection.jsonl whose names there are too short."""
STARTS = {
    "kernels": "kernels projected",
    "outputs": "outputs matched",
    "channels": "channels renumbered, outputs matched",
}
DEVICES = ("ResNet-20", "ResNet-56", "ConvMixer")
HALF_A_POINT = 0.005
AIM = 0.007
"""What half of the parameters may cost."""
BY_HAND = "plans made by hand"
SURE = 3
"""Standard deviations of the seeds by which what is found was to be ahead of these."""
OF_THE_CEILING = 0.98
"""What a search was to find from 40 trials on."""
MANY = 6
"""Bars of a picture whose names must be small to stand beside each other."""
SHARED = {"unshared": "unshared", "kernel": "everything tied"}


def main() -> None:
    """Write the page and draw its pictures."""
    PAGE.write_text(page())
    drawn = {
        "scaling-and-sharing": scaling_picture(),
        "device-bytes": device_picture(),
        "projection": projection_picture(),
    }
    for name, figure in drawn.items():
        figure.savefig(PICTURES / f"{name}.png", dpi=110, bbox_inches="tight")


def page() -> str:
    """The whole page, as Markdown."""
    sections = (
        *(scaling_values(), joint_values(), opponents_values(), device_values()),
        *(at_scale_values(), mixer_values(), projection_values()),
    )
    return WORDS.read_text().format(**ChainMap(*sections))


def rows_of(name: str) -> list[Row]:
    """What a command has kept."""
    return kept(KEPT / f"{name}.jsonl")


@cache
def trained_again() -> list[scaling.Network]:
    """The networks of the joint search."""
    return scaling.networks(rows_of("scaling_and_sharing"))


def scaling_values() -> dict[str, object]:
    """Of the section on thinner networks."""
    rows, curve = rows_of("scaling_and_sharing"), scaling.unshared_curve(trained_again())
    shared = [sized for row, sized, _ in trained_again() if row["shared"]]
    told = [found for sized in shared if (found := above(curve, sized)) is not None]
    return {
        "scaling_epochs": rows[0]["epochs"],
        "scaling_seeds": min(row["seeds"] for row, _, _ in trained_again()),
        "scaling_headline": headline(told),
        "scaling_told": len(told),
        "scaling_same": at_equal_operations(),
        "scaling_ahead": sum(one.difference > 2 * (one.error or 1) for one in told),
        "scaling_behind": sum(-one.difference > 2 * (one.error or 1) for one in told),
        "scaling_table": scaling.table(rows),
    }


def headline(told: Sequence[Difference]) -> str:
    """What the shared networks are worth on average, in a sentence."""
    worth = fmean(one.difference for one in told)
    least, most = (f"{100 * end(one.difference for one in told):+.1f}" for end in (min, max))
    price = fmean(one.operations or 1.0 for one in told)
    way = "above" if worth >= 0 else "below"
    return (
        f"**At equal parameters the shared networks lie {abs(100 * worth):.1f} points {way} "
        f"scaling alone on average ({least} to {most}), for {price:.1f} times the operations.**"
    )


def at_equal_operations() -> str:
    """How shared networks compare with the unshared one of the same depth and width."""
    variants = {
        row["plan"].partition(":")[0]: one for row, one, _ in trained_again() if not row["shared"]
    }
    pairs = [
        (one, variants[variant])
        for row, one, _ in trained_again()
        if row["shared"] and (variant := row["plan"].partition(":")[0]) in variants
    ]
    good = [(one, whole) for one, whole in pairs if whole.value - one.value <= HALF_A_POINT]
    if not good:
        return f"None of {len(pairs)} is within half a point of the unshared network of its size."
    one, whole = min(good, key=lambda pair: pair[0].parameters / pair[1].parameters)
    share = f"{one.parameters / whole.parameters:.0%}"
    return (
        f"{len(good)} of {len(pairs)} are at most half a point less accurate than the unshared "
        f"network of the same depth and width, the smallest with {share} of its parameters "
        f"({100 * one.value:.1f} beside {100 * whole.value:.1f})."
    )


def joint_values() -> dict[str, object]:
    """Of the section on joint searches."""
    rows = rows_of("joint_search")
    return {"joint_seeds": len(rows), "joint_table": joint_search.table(rows)}


def opponents_values() -> dict[str, object]:
    """Of the section on other searchers."""
    rows = rows_of("opponents")
    sampled, digits, cifar = opponents.TABLES
    missing = [one for one in SEARCHERS if not any(row["searcher"] == one for row in rows)]
    found, shown = zip(
        *(opponents.of_the_ceiling(rows, name) for name in opponents.TABLES), strict=True
    )

    def foreseen(name: str, budget: int) -> float:
        return opponents.of_the_ceiling(rows, name, budget, opponents.FORESEEN)[0]

    return {
        "opponents_verdict": opponents.verdict(rows),
        "foreseen_at_40": f"{foreseen(sampled, 40):.1%}",
        "foreseen_at_60": f"{foreseen(sampled, 60):.1%}",
        "foreseen_met": "met" if foreseen(sampled, 40) >= OF_THE_CEILING else "missed",
        "foreseen_older": " and ".join(f"{foreseen(name, 40):.0%}" for name in (digits, cifar)),
        "opponents_missing": ", ".join(missing) or "none",
        "opponents_sampled": opponents.table(rows, sampled),
        "opponents_digits": opponents.table(rows, digits),
        "opponents_cifar": opponents.table(rows, cifar),
        "opponents_found": " and ".join(f"{one:.0%}" for one in found),
        "opponents_shown": " and ".join(f"{one:.0%}" for one in shown),
    }


def device_values() -> dict[str, object]:
    """Of the section on what devices hold."""
    rows = {(row["network"], row["method"], row["format"]): row for row in rows_of("device")}
    lines = [
        "| network | plan | int8 ONNX file | weights in onnxruntime | TFLite file | counted |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for network in DEVICES:
        for method, words in SHARED.items():
            onnx, tflite = rows[network, method, "onnx-int8"], rows[network, method, "tflite"]
            sizes = (onnx["file"], onnx["weights"], tflite["file"], onnx["counted"])
            cells = (network, words, *(f"{size / 1000:,.0f}" for size in sizes))
            lines.append(f"| {' | '.join(cells)} |")
    ratios = [row["weights"] / row["counted"] for row in rows.values() if row.get("weights")]
    unshared, tied = (rows["ResNet-56", method, "onnx-int8"]["weights"] for method in SHARED)
    return {
        "deep_unshared": f"{unshared / 1000:,.0f}",
        "deep_tied": f"{tied / 1000:,.0f}",
        "counted_least": f"{min(ratios):.3f}",
        "counted_most": f"{max(ratios):.3f}",
        "counted_files": len(ratios),
        "device_table": "\n".join(lines),
    }


def at_scale_values() -> dict[str, object]:
    """Of the section on a network of real size."""
    rows = rows_of("at_scale")
    alone, taught = ([row for row in rows if row["distill"] == which] for which in (False, True))
    seeds = [len(same) for same in at_scale.by_plan(rows)]
    return {
        "scale_epochs": rows[0]["epochs"],
        "scale_seeds": str(min(seeds)) if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}",
        "scale_bases": len({row["base"] for row in rows}),
        "scale_table": at_scale.table(rows),
        "scale_headline": half_headline(alone),
        "scale_distilled": half_headline(taught),
    }


def half_headline(rows: Sequence[Row]) -> str:
    """What half of the parameters cost, at best."""
    whole = at_scale.unshared_parameters(rows)
    lost = [
        (-fmean(at_scale.beside_unshared(same, rows)), same[0])
        for same in at_scale.by_plan(rows)
        if 2 * same[0]["parameters"] <= whole
    ]
    if not lost:
        return "No plan of at most half of the parameters has been trained yet."
    least, row = min(lost, key=lambda pair: pair[0])
    share = f"{row['parameters'] / whole:.0%}"
    met = "met" if least <= AIM else "missed"
    seeds = len({one["seed"] for one in rows if one["plan"] == row["plan"]})
    return (
        f"**With {share} of the parameters the best plan ({row['plan']}, n = {seeds}) "
        f"loses {100 * least:.2f} points** (aim: at most {100 * AIM:.1f}, {met})."
    )


def mixer_values() -> dict[str, object]:
    """Of the section on what one would try instead of a search."""
    rows = rows_of("at_scale_mixer")
    seeds = len({row["seed"] for row in rows})
    duels = at_scale.duels(rows)
    by_hand = [told for (row, *_), _, told in duels if kind_of(row) == BY_HAND]
    beyond = sum(fmean(told) > max(SURE * stdev(told), 0) for told in by_hand)
    return {
        "mixer_epochs": rows[0]["epochs"],
        "mixer_seeds": seeds,
        "mixer_headline": in_words(duels),
        "mixer_beyond": f"{beyond} of {len(by_hand)}",
        "mixer_duels": at_scale.duel_table(rows),
        "joint_headline": in_words(at_scale.duels(rows, at_scale.JOINT)),
        "joint_duels": at_scale.duel_table(rows, at_scale.JOINT),
        "mixer_missing": "" if seeds > 1 else "One seed: no interval yet. ",
        "mixer_table": at_scale.table(rows),
    }


def in_words(duels: Sequence[at_scale.Duel]) -> str:
    """How often what was found is better, of each kind of plan."""
    ahead: dict[str, list[float]] = {}
    for (row, *_), _, differences in duels:
        ahead.setdefault(kind_of(row), []).append(100 * fmean(differences))
    told = [
        f"{sum(one > 0 for one in some)} of {len(some)} {kind} "
        f"({min(some):+.1f} to {max(some):+.1f} points)"
        for kind, some in ahead.items()
    ]
    return f"more accurate than {', '.join(told)}"


def kind_of(row: Row) -> str:
    """Where a plan comes from, which has been held beside what was found."""
    if row["plan"].startswith(at_scale.OURS):
        return "plans that `ehvi` found"
    if at_scale.budget_of(row):
        return "plans of other searches"
    if "unshared" in row["in short"]:
        return "thinner and shallower networks"
    return BY_HAND


def projection_values() -> dict[str, object]:
    """Of the section on trained networks."""
    found = projected()
    lines = [f"| plan | parameters | {' | '.join(STARTS.values())} |", "|---|--:|--:|--:|--:|"]
    for plan, (parameters, *accuracies) in found.items():
        cells = [f"{parameters:,}", *(f"{accuracy:.3f}" for accuracy in accuracies)]
        lines.append(f"| {plan} | {' | '.join(cells)} |")
    base = next(row for row in projections() if row["plan"] == "unshared")
    return {
        "projected_parameters": f"{base['parameters']:,}",
        "projected_accuracy": f"{base['accuracy']:.3f}",
        "projected_images": f"{base['tested']:,}",
        "pairs_kernels": f"{found[PAIRS][1]:.3f}",
        "pairs_outputs": f"{found[PAIRS][2]:.3f}",
        "pairs_channels": f"{found[PAIRS][3]:.3f}",
        "projection_table": "\n".join(lines),
    }


def projections() -> list[Row]:
    """Of the published ResNet-20, before any epoch of fine-tuning."""
    published = [row for row in rows_of("projection") if row["weights"].startswith("resnet20")]
    return [row for row in published if row["epochs"] == 0 and not row["distill"]]


def projected() -> dict[str, tuple[Any, ...]]:
    """Parameters, and accuracy by each start, of the plans that have all."""
    found = {(str(row["plan"]), row["start"]): row for row in projections()}
    return {
        LONGER.get(name, name): (
            row["parameters"],
            *(found[name, start]["accuracy"] for start in STARTS),
        )
        for (name, last), row in found.items()
        if last == "kernels" and all((name, start) in found for start in STARTS)
    }


def scaling_picture() -> Figure:
    """Test accuracy against parameters."""
    figure, axes = empty("parameters", "test accuracy")
    shared = [sized for row, sized, _ in trained_again() if row["shared"]]
    for points, color, shape, label in (
        (scaling.unshared_curve(trained_again()), GREY, "o-", "scaling alone: unshared"),
        (shared, BLUE, "D", "shared"),
    ):
        axes.errorbar(
            [one.parameters for one in points],
            [one.value for one in points],
            [one.error or 0.0 for one in points],
            fmt=shape,
            color=color,
            capsize=3,
            label=label,
        )
    axes.set_xscale("log")
    ticks = (20_000, 50_000, 100_000, 200_000, 400_000)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, loc="lower right")
    return figure


def device_picture() -> Figure:
    """Bytes of weights."""
    rows = {(row["network"], row["method"], row["format"]): row for row in rows_of("device")}
    columns = {
        words: [rows[network, method, "onnx-int8"]["weights"] / 1000 for network in DEVICES]
        for method, words in SHARED.items()
    }
    return bars("kB of weights in onnxruntime, int8", DEVICES, columns)


def projection_picture() -> Figure:
    """Accuracy right after projection."""
    found = projected()
    shown = {"kernels": 1, "channels": 3}
    columns = {STARTS[start]: [one[at] for one in found.values()] for start, at in shown.items()}
    names = [textwrap.fill(words, 10) for words in found]
    return bars("test accuracy before any training", names, columns)


def bars(title: str, names: Sequence[str], columns: dict[str, list[float]]) -> Figure:
    """Two bars side by side for each name."""
    figure, axes = empty("", title)
    looks = zip((-0.2, 0.2), (GREY, BLUE), columns.items(), strict=True)
    for shift, color, (label, heights) in looks:
        places = [place + shift for place in range(len(names))]
        made = axes.bar(places, heights, 0.38, color=color, label=label)
        axes.bar_label(made, fmt="%.2f" if max(heights) < 1 else "%.0f", fontsize=8)
    axes.set_xticks(range(len(names)), names, fontsize="xx-small" if len(names) > MANY else None)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def empty(x_title: str, y_title: str) -> tuple[Figure, Any]:
    """A picture without anything in it yet."""
    figure = Figure(figsize=(7.5, 3.8))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    return figure, axes


if __name__ == "__main__":
    main()
