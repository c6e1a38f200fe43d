"""The probability that a plan of the front is truly on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from isoshare.search.config import make_config
from isoshare.search.results.front_probability import on_front
from isoshare.search.results.study_results import load_results
from isoshare.search.results.tables import front_json
from isoshare.space.plan import Bank, SharingPlan
from isoshare.storage.records import MeasurementRecord, TrialRecord
from isoshare.storage.store import Store
from tests.fakes import create_study, space_of


def study_of(store: Store, trials: Sequence[tuple[float, Sequence[float]]]) -> None:
    """Finished trials with these parameters and accuracies, one a seed."""
    space, config = space_of(8), make_config({"replicates": len(trials[0][1])})
    create_study(store, space, config)
    for number, (parameters, accuracies) in enumerate(trials):
        sites = tuple(f"convs.{place}" for place in range(2 + number))
        plan = SharingPlan((Bank("kernel", {}, sites),))
        exact = {"parameters": parameters}
        store.add_trial("study", TrialRecord(number, plan, "sampler", "running", exact, {}))
        records = [
            MeasurementRecord(seed, "validation", {"epochs": 15}, {"accuracy": accuracy}, 1.0)
            for seed, accuracy in enumerate(accuracies)
        ]
        store.add_measurements("study", number, records, finished=True)


def test_a_clear_front_is_certain_and_a_lucky_plan_is_not(store: Store) -> None:
    study_of(
        store,
        [(100, (0.5, 0.52)), (200, (0.79, 0.81)), (150, (0.78, 0.8)), (300, (0.9, 0.92))],
    )
    likely = on_front(load_results(store, "study"))
    assert likely[0] == likely[3] == 1
    assert likely[2] == 1, "no plan that costs as much is nearly as good"
    assert 0.55 < likely[1] < 0.9, "one that costs less is nearly as good"
    members = front_json(load_results(store, "study"))["front"]
    assert [member["on_front"] for member in members] == [
        pytest.approx(likely[member["trial"]], abs=1e-4) for member in members
    ]


def test_the_probability_is_that_of_two_normal_means(store: Store) -> None:
    study_of(store, [(100, (0.79, 0.81)), (100, (0.795, 0.815))])
    likely = on_front(load_results(store, "study"))
    error = (2 * 0.01**2) ** 0.5 / 2**0.5  # of each mean
    draws = np.random.default_rng(1).standard_normal((200_000, 2)) * error + [0.8, 0.805]
    assert likely == {1: pytest.approx((draws[:, 1] > draws[:, 0]).mean(), abs=0.07)}


def test_one_seed_says_nothing_of_noise(store: Store) -> None:
    study_of(store, [(100, (0.5,)), (200, (0.8,))])
    assert on_front(load_results(store, "study")) == {}
    assert "on_front" not in front_json(load_results(store, "study"))["front"][0]
