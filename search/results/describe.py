"""Plans and numbers in words, for tables, hover texts and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from isoshare.evaluators import is_own_evaluator
from isoshare.evaluators.evaluator import Pretraining
from isoshare.search.options.durations import span
from isoshare.space.methods import METHODS
from isoshare.space.plan import Bank, SharingPlan, Split
from isoshare.space.sites import Site, describe_signature, isomorphic_groups
from isoshare.space.variants.arguments import label
from isoshare.storage.records import TrialRecord
from isoshare.storage.study_values import StudyConfig


def plan_in_words(plan: SharingPlan, sites: Sequence[Site]) -> str:
    """Who shares what: ``1 kernel for 6 sites 16→16 3x3, 1 basis S8U1 for 4 of 5 sites 8→8 3x3``.

    A group that does not share is left out; a network-wide bank comes first. Before it stands the
    variant of the backbone, if the plan names one.
    """
    parts = [
        f"{brief(bank)} for {counted(len(bank.sites), 'site')}" for bank in _network_wide(plan)
    ]
    for group, kind, kernels, shared in _shared_groups(plan, sites):
        if kind == "kernel":
            parts.append(f"{counted(kernels, kind)} for {len(group)} sites {_shape(group[0])}")
        else:
            private = len(group) - shared
            several = f"{shared} of {len(group)}" if private else f"{shared}"
            banks = kernels - private
            parts.append(f"{banks} {kind} for {several} sites {_shape(group[0])}")
    return _of_variant(plan) + (", ".join(parts) or "unshared")


def plan_in_brief(plan: SharingPlan, sites: Sequence[Site], most: int = 90) -> str:
    """In words if they are at most so many characters, else in numbers: ``23 banks of 4 methods, 96
    of 120 sites share``.
    """
    words = plan_in_words(plan, sites)
    if len(words) <= most:
        return words
    sharing = sum(len(bank.sites) for bank in plan.banks)
    methods = len({bank.method for bank in plan.banks})
    banks = f"{counted(len(plan.banks), 'bank')} of {counted(methods, 'method')}"
    return f"{_of_variant(plan)}{banks}, {sharing} of {counted(len(sites), 'site')} share"


def plan_in_short(plan: SharingPlan, sites: Sequence[Site]) -> str:
    """The same for a table, kernels/sites: ``16→16 3x3 1/6 · 32→32 3x3 basis S8U1 2/5``."""
    parts = [f"{brief(bank)} {counted(len(bank.sites), 'site')}" for bank in _network_wide(plan)]
    parts += [
        f"{_shape(group[0])} {'' if kind == 'kernel' else f'{kind} '}{kernels}/{len(group)}"
        for group, kind, kernels, _ in _shared_groups(plan, sites)
    ]
    return _of_variant(plan) + (" · ".join(parts) or "unshared")


def brief(bank: Bank) -> str:
    """The method of a bank and its options: ``basis S8U1``."""
    return METHODS[bank.method].brief.format(**bank.options)


def _of_variant(plan: SharingPlan) -> str:
    return f"{label(plan.variant)}: " if plan.variant else ""


def _network_wide(plan: SharingPlan) -> list[Bank]:
    return [bank for bank in plan.banks if METHODS[bank.method].network_wide]


def _shared_groups(
    plan: SharingPlan, sites: Sequence[Site]
) -> list[tuple[tuple[Site, ...], str, int, int]]:
    """The isomorphic groups with banks of their own: sites, brief method, kernels, shared sites.

    A bank counts as one kernel, and so does each site that stays private.
    """
    found = []
    for group in isomorphic_groups(sites):
        names = {site.name for site in group}
        banks = [
            bank
            for bank in plan.banks
            if names.issuperset(bank.sites) and not METHODS[bank.method].network_wide
        ]
        if banks:
            shared = sum(len(bank.sites) for bank in banks)
            kinds = " and ".join(dict.fromkeys(brief(bank) for bank in banks))
            found.append((group, kinds, len(banks) + len(group) - shared, shared))
    return found


def counted(number: int, noun: str) -> str:
    """``1 kernel``, ``2 kernels``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def pace_in_words(pace: float, trials: int, seconds: float | None) -> str:
    """What a trial takes, and how many of ``trials`` fit, or how long they take.

    pace: seconds from one trial to the next; seconds: that are left, None: without a limit.
    """
    if seconds is None or pace * trials <= seconds:
        return f"{span(pace)} per trial, {span(pace * max(0, trials))} left"
    return f"{span(pace)} per trial, {max(0, int(seconds / max(pace, 1e-9))):,} more fit the time"


def unknown_pace(seconds: float | None) -> str:
    """What is said before the first trial of a function of the user's own, whose cost nobody knows.

    seconds: that the search has; None: no limit.
    """
    what = "how long this takes" if seconds is None else "how many trials fit the time"
    return f"{what} is known when the first has ended"


def pretraining_in_words(ahead: Pretraining, kind: str = "unshared network") -> str:
    """What is trained before anything else, and about how long that takes."""
    several = ahead.networks > 1
    what = f"{counted(ahead.networks, kind)} {'are' if several else 'is'} trained"
    each = f"for {counted(ahead.epochs, 'epoch')}{' each' if several else ''}"
    long = "" if ahead.seconds is None else f": about {span(ahead.seconds)}"
    return f"{what} first, {each}{long}"


def duration_in_words(found: Mapping[str, Any]) -> str:
    """How long a search will take, from its outlook."""
    if found["seconds"] is None:
        return "how long a trial takes is not known before the first one"
    long = f"about {span(found['seconds'])}: {span(found['seconds_per_trial'])} per trial"
    return f"{long}, {found['workers']} at a time"


def roughly(number: int) -> str:
    """Exact as long as people can read it."""
    return f"{number:,}" if number < 10**9 else f"{Decimal(number):.1e}"


def training_length(config: StudyConfig) -> str:
    """How long a training was, as far as it is known."""
    own = is_own_evaluator(config.evaluator)
    return "as long as the function trains" if own else counted(config.epochs, "epoch")


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
