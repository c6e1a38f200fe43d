"""What sharing is worth beside scaling alone: interpolated at equal parameters, with its error."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import isoshare
from isoshare.search.results.pictures.drawing import draw_interactive, write_png
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.plotly_figure import front_plot
from isoshare.search.results.reports.report import launch_command, study_report
from isoshare.search.results.scaling_alone import (
    Sized,
    above,
    above_at_most,
    above_frugal,
    above_scaling,
    best_of,
    scaling_curve,
    sharing_in_words,
)
from isoshare.search.results.study_results import Results, load_results
from isoshare.search.results.tables import front_json
from isoshare.space.apply import count_parameters
from tests.test_varying import chain

LEAD = 0.05
"""What sharing is worth in the studies of this file, at equal parameters."""


def lead_and_luck(network: nn.Module, trial: isoshare.Trial) -> float:
    """Linear in the logarithm of the parameters, better if shared, and a hundredth of luck."""
    luck = 0.01 if trial.seed % 2 else -0.01
    return 0.1 * math.log(count_parameters(network)) + LEAD * bool(trial.plan.banks) + luck


def results_of(replicates: int, vary: dict[str, list[int]] | None = None) -> Results:
    """A study in memory over three widths and two depths."""
    varied = vary or {"width": [2, 3, 4], "depth": [2, 3]}
    study = isoshare.create_study(chain, "worth", vary=varied)
    study.optimize(lead_and_luck, n_trials=16, replicates=replicates, show_progress_bar=False)
    return load_results(study._store, "worth")


@pytest.fixture(scope="module")
def results() -> Results:
    """With two seeds for each plan."""
    return results_of(2)


def test_the_curve_is_made_of_the_unshared_networks_that_no_other_beats(results: Results) -> None:
    curve = scaling_curve(results)
    assert len(curve) == 6
    assert [one.parameters for one in curve] == sorted(one.parameters for one in curve)
    plans = {trial.number: trial.plan for trial in results.finished}
    assert not any(plans[one.trial].banks for one in curve)


def test_the_difference_is_told_at_equal_parameters_with_its_standard_error(
    results: Results,
) -> None:
    curve, found = scaling_curve(results), above_scaling(results)
    assert found
    for one in found:
        assert one.difference == pytest.approx(LEAD)
        after = next(c for c in curve if c.parameters >= one.parameters)
        before = curve[curve.index(after) - 1]
        whole = math.log(after.parameters / before.parameters)
        part = math.log(one.parameters / before.parameters) / whole
        # Two seeds a hundredth above and below: a standard error of a hundredth each.
        assert one.error == pytest.approx(0.01 * math.sqrt(1 + part**2 + (1 - part) ** 2))


def test_it_is_said_in_a_sentence_wherever_results_are_shown(
    results: Results, tmp_path: Path
) -> None:
    said = sharing_in_words(results)
    assert said is not None
    assert said.startswith("sharing is 5.0 ± 1.")
    assert " points above scaling at " in said
    found = front_json(results)
    assert found["sharing"] == said
    assert len(found["scaling_alone"]) == 6
    report = study_report(results, next(t for t in results.front.members if t.plan.banks))
    assert "sharing is 5.0 ± 1." in report.answer
    figure = front_figure(results)
    assert len(figure.scaling) == 6
    assert "scaling alone" in [trace["name"] for trace in front_plot(figure)["traces"]]
    assert "scaling alone" in [trace.name for trace in draw_interactive(figure).data]
    write_png(figure, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_the_price_in_operations_is_said_where_they_are_known() -> None:
    study = isoshare.create_study(
        chain,
        objectives=("accuracy", "parameters", "macs"),
        vary={"width": [2, 3, 4], "depth": [2, 3]},
        example_input=torch.zeros(1, 1, 8, 8),
    )
    study.optimize(lead_and_luck, n_trials=14, show_progress_bar=False)
    results = load_results(study._store, study.name)
    curve = scaling_curve(results)
    trials = {trial.number: trial for trial in results.finished}
    for one in above_scaling(results):
        after = next(c for c in curve if c.parameters >= one.parameters)
        before = curve[curve.index(after) - 1]
        assert before.macs is not None
        assert after.macs is not None
        assert one.operations is not None
        macs = trials[one.trial].exact["macs"]
        assert before.macs <= macs / one.operations <= after.macs
    said = sharing_in_words(results)
    assert said is not None
    assert " times the operations; at equal parameters and at most equal operations it is" in said
    assert (
        "at most equal operations it is" in study_report(results, results.front.members[0]).answer
    )
    frugal = {one.trial: one for one in above_frugal(results)}
    assert frugal
    assert front_json(results)["above_scaling_at_most_equal_macs"]
    for one in above_scaling(results):
        if one.trial in frugal:
            assert frugal[one.trial].parameters == one.parameters


def test_at_most_equal_operations_leave_out_what_takes_more() -> None:
    thin, deep, wide = (
        Sized(0, 100, 0.5, 0.01, 10),
        Sized(1, 200, 0.7, 0.01, 90),
        Sized(2, 400, 0.7, 0.01, 30),
    )
    shared = Sized(3, 200, 0.8, 0.01, 40)
    everything = above(best_of((thin, deep, wide), -1), shared)
    frugal = above_at_most((thin, deep, wide), shared, -1)
    assert everything is not None
    assert frugal is not None
    assert everything.difference == pytest.approx(0.1)
    assert frugal.difference == pytest.approx(0.2), "halfway between the thin and the wide one"
    assert frugal.error == pytest.approx(0.01 * math.sqrt(1 + 0.25 + 0.25))
    assert above_at_most((thin, deep, wide), replace(shared, macs=20), -1) is None
    assert above_at_most((thin, deep, wide), replace(shared, macs=None), -1) is None


def test_one_seed_has_no_error_and_one_variant_no_curve() -> None:
    said = sharing_in_words(results_of(1))
    assert said is not None
    assert "±" not in said
    assert "above" in said
    alone = results_of(1, {"width": [3]})
    assert scaling_json_is_empty(alone)
    assert sharing_in_words(alone) is None


def scaling_json_is_empty(results: Results) -> bool:
    """Whether nothing is compared."""
    return not above_scaling(results)


def test_the_command_that_starts_the_search_again_names_what_varies(results: Results) -> None:
    assert "--vary width=2,3,4 --vary depth=2,3" in launch_command(results.study)
