"""Fronts, hypervolumes and knees against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoshare.search.pareto import (
    Axis,
    Front,
    hypervolume,
    knee,
    nondominated,
    pareto_front,
    with_all_values,
)
from isoshare.search.results.pictures.figures import staircase
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import Bank, SharingPlan
from isoshare.storage.records import MeasurementRecord, TrialRecord, TrialState

AXES = (Axis("accuracy", "maximize", 0.0), Axis("parameters", "minimize", 10.0))


def trial(
    number: int, accuracy: float | None, parameters: float, state: TrialState = "finished"
) -> TrialRecord:
    measured = [] if accuracy is None else [{"accuracy": accuracy}]
    return TrialRecord(
        number=number,
        plan=SharingPlan((Bank("kernel", {}, (f"a{number}", f"b{number}")),)),
        origin="sampler",
        state=state,
        exact={"parameters": parameters},
        proposal={},
        measurements=tuple(
            MeasurementRecord(0, "validation", {}, values, 1.0) for values in measured
        ),
    )


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_the_front_is_what_nothing_dominates(rows: list[tuple[int, int]]) -> None:
    array = np.array(rows, dtype=float).reshape(-1, 2)
    expected = [
        place
        for place, row in enumerate(rows)
        if not any(o != row and o[0] <= row[0] and o[1] <= row[1] for o in rows)
    ]
    assert nondominated(array) == expected


@given(points)
def test_the_hypervolume_is_the_area_in_unit_squares(rows: list[tuple[int, int]]) -> None:
    array = np.array(rows, dtype=float).reshape(-1, 2)
    squares = sum(
        any(r[0] <= x and r[1] <= y for r in rows) for x, y in product(range(7), repeat=2)
    )
    assert hypervolume(array, [7, 7]) == pytest.approx(squares)


def test_only_finished_trials_with_all_values_are_on_the_front() -> None:
    trials = [
        trial(0, 0.9, 8),
        trial(1, 0.5, 2),
        trial(2, 0.5, 4),
        trial(3, 0.99, 1, "failed"),
        trial(4, 0.99, 1, "running"),
        trial(5, None, 1),
        trial(6, 0.9, 8),
    ]
    finished = with_all_values(AXES, trials)
    assert [t.number for t in finished] == [0, 1, 2, 6]
    front = pareto_front(AXES, finished)
    assert [t.number for t in front.members] == [1, 0, 6]
    assert front.hypervolume == pytest.approx(0.9 * 2 + 0.5 * 6)
    assert front.reference_point == {"accuracy": 0.0, "parameters": 10.0}


def test_the_knee_is_farthest_below_the_line_between_the_ends() -> None:
    front = pareto_front(AXES, [trial(0, 1.0, 9), trial(1, 0.9, 3), trial(2, 0.5, 1)])
    assert knee(front).number == 1


def test_a_front_of_one_is_its_own_knee_and_an_empty_one_has_none() -> None:
    assert knee(pareto_front(AXES, [trial(0, 1.0, 9)])).number == 0
    empty: Front = pareto_front(AXES, [])
    assert empty.hypervolume == 0
    with pytest.raises(IsoshareError, match="no trial has finished"):
        knee(empty)


def test_the_staircase_keeps_the_accuracy_of_the_smaller_plan_until_the_next() -> None:
    corners = staircase([(8, 0.9), (2, 0.5), (2, 0.5)], AXES[1], AXES[0])
    assert corners == ((2, 0.5), (8, 0.5), (8, 0.9))
    assert staircase([], AXES[1], AXES[0]) == ()
