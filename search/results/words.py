"""Plans and numbers in words, for tables, hover texts and messages."""

from __future__ import annotations

from collections.abc import Sequence

from space.plan import SharingPlan
from space.sites import Site, describe_signature, isomorphic_groups
from storage.records import Split, StudyRecord, TrialRecord


def sites_of(study: StudyRecord) -> tuple[Site, ...]:
    """The sites of the backbone of a study, in module order, as the study recorded them."""
    return tuple(
        Site(**{**row, "kernel_size": tuple(row["kernel_size"])}) for row in study.context["sites"]
    )


def plan_in_words(plan: SharingPlan, sites: Sequence[Site]) -> str:
    """How many kernels the sites of each shape use: ``1 kernel for 6 sites 16→16 3x3``.

    A group that does not share is left out.
    """
    parts = [
        f"{counted(kernels, 'kernel')} for {len(group)} sites {_shape(group[0])}"
        for group, kernels in kernels_by_group(plan, sites)
        if kernels < len(group)
    ]
    return ", ".join(parts) or "unshared"


def plan_in_short(plan: SharingPlan, sites: Sequence[Site]) -> str:
    """The same for a table, kernels/sites: ``16→16 3x3 1/6 · 32→32 3x3 5/5``."""
    if not plan.banks:
        return "unshared"
    return " · ".join(
        f"{_shape(group[0])} {kernels}/{len(group)}"
        for group, kernels in kernels_by_group(plan, sites)
    )


def kernels_by_group(
    plan: SharingPlan, sites: Sequence[Site]
) -> list[tuple[tuple[Site, ...], int]]:
    """Each isomorphic group with the number of different kernels its sites use."""
    bank_of = {name: place for place, bank in enumerate(plan.banks) for name in bank.sites}
    return [
        (group, len({bank_of.get(site.name, site.name) for site in group}))
        for group in isomorphic_groups(sites)
    ]


def counted(number: int, noun: str) -> str:
    """``1 kernel``, ``2 kernels``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_error(trial: TrialRecord, objective: str, split: Split = "validation") -> str:
    """A value with its standard error where it has one: ``0.934 ± 0.004``, ``1,396``, ``-``."""
    value = trial.value(objective, split)
    error = trial.error_bar(objective, split)
    if value is None:
        return "-"
    if float(value).is_integer() and error is None:
        return f"{int(value):,}"
    return f"{value:.4g}" if error is None else f"{value:.3f} ± {error:.3f}"


def _shape(site: Site) -> str:
    return describe_signature(site.signature)
