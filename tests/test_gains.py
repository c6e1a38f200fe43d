"""What a search has won, in sentences: seed by seed, at no higher cost."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev

import pytest

from isoshare.search.drivers.inline import run_inline
from isoshare.search.results.gains import gains_in_words, gains_over
from isoshare.search.results.study_results import Results, load_results
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, MakeEngine


@pytest.fixture
def results(make_engine: MakeEngine, store: Store) -> Results:
    """A study of three sites: less sharing is better, so the front has a plan for each size."""
    engine = make_engine(trials=5, replicates=4, sampler="random")
    run_inline(engine, FakeEvaluator())
    return load_results(store, "study")


def by_seed(trial: TrialRecord) -> list[float]:
    return trial.samples("accuracy")


def test_plans_are_compared_seed_by_seed_at_no_higher_cost(results: Results) -> None:
    axis = results.front.axes[0]
    members = results.front.members
    outside = [one for one in results.finished if one not in members]
    for gain in gains_over(results.finished, members, axis):
        assert gain.reference in outside
        assert gain.found.exact["parameters"] <= gain.reference.exact["parameters"]
        pairs = zip(by_seed(gain.found), by_seed(gain.reference), strict=True)
        differences = [mine - theirs for mine, theirs in pairs]
        assert gain.difference == pytest.approx(fmean(differences))
        assert gain.error == pytest.approx(stdev(differences) / 2)
    compared = {gain.reference.number for gain in gains_over(results.finished, members, axis)}
    assert compared == {one.number for one in outside}


def with_values(results: Results, values: dict[int, list[float]]) -> Results:
    """The same trials with other accuracies."""

    def changed(trial: TrialRecord) -> TrialRecord:
        kept = [m for m in trial.measurements if m.split == "validation"]
        pairs = zip(kept, values[trial.number], strict=True)
        made = tuple(replace(m, values={"accuracy": value}) for m, value in pairs)
        return replace(trial, measurements=made)

    trials = {trial.number: changed(trial) for trial in results.finished}
    front = replace(
        results.front, members=tuple(trials[one.number] for one in results.front.members)
    )
    return replace(results, compared=tuple(trials.values()), front=front)


def changed_from_unshared(results: Results, more: list[float]) -> Results:
    """All plans but the unshared one have so much more of its accuracies, seed by seed."""
    whole = next(one for one in results.finished if one.origin == "unshared")
    level = [0.8, 0.82, 0.84, 0.86]
    others = [value + one for value, one in zip(level, more, strict=True)]
    values = {one.number: level if one == whole else others for one in results.finished}
    return with_values(results, values)


def test_what_is_won_over_the_unshared_network(results: Results) -> None:
    (first, *_) = gains_in_words(changed_from_unshared(results, [0.01, -0.01, 0.01, -0.01]))
    assert first.endswith("is as accurate (0.0 ± 0.6 points more).")
    (first, *_) = gains_in_words(changed_from_unshared(results, [0.05] * 4))
    assert first.endswith("is 5.0 ± 0.0 points more accurate.")
    (first, *_) = gains_in_words(changed_from_unshared(results, [-0.05, -0.04, -0.05, -0.04]))
    assert "% of the unshared network's parameters" in first
    assert first.endswith("is 4.5 ± 0.3 points less accurate.")


def test_what_is_won_over_plans_made_by_hand_and_by_chance(results: Results) -> None:
    members = results.front.members
    outside = [one for one in results.finished if one not in members]
    assert outside, "somebody is beaten"
    for origin, words in (("start: kernel", "kernel everywhere"), ("a paper", "a paper")):
        made = tuple(
            replace(one, origin=origin if one in outside else "sampler") for one in results.finished
        )
        said = " ".join(gains_in_words(replace(results, compared=made)))
        assert f"made by hand, {len(outside)} " in said
        assert f"({words})" in said
        assert said.endswith("are a little too large.")


def test_without_references_nothing_is_said(results: Results) -> None:
    searched = tuple(replace(one, origin="sampler") for one in results.finished)
    assert gains_in_words(replace(results, compared=searched)) == ()
