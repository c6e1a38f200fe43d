"""Expected improvement over two exact costs: as brute force, Monte Carlo and one cost have it."""

from __future__ import annotations

import numpy as np
import pytest

from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.pareto import hypervolume
from isoshare.search.samplers.ehvi import ParetoFront2D
from isoshare.search.samplers.ehvi_two_costs import ParetoFront3D, hypervolumes_of_two_costs
from isoshare.storage.store import Store
from tests.fakes import FakeEvaluator, create_study, engine_for, space_with_costs

REFERENCE = (2.0, 3.0, 0.1)


@pytest.fixture(params=range(4))
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Several draws."""
    return np.random.default_rng(request.param)


def drawn(rng: np.random.Generator, plans: int) -> tuple[np.ndarray, np.ndarray]:
    """Costs, some beyond the reference, and values, some below it; some of them equal."""
    costs = rng.uniform(0, 1.1, (plans, 2)) * REFERENCE[:2]
    costs[plans // 2 :, 0] = costs[: plans - plans // 2, 0]
    return costs, rng.uniform(0, 1, plans)


def volume(costs: np.ndarray, values: np.ndarray) -> float:
    """By moocore."""
    points = np.column_stack([costs, -values])
    return hypervolume(points, [*REFERENCE[:2], -REFERENCE[2]])


def test_the_volume_is_that_of_the_front(rng: np.random.Generator) -> None:
    costs, values = drawn(rng, 20)
    front = ParetoFront3D.of(costs, values, REFERENCE)
    assert front.hypervolume == pytest.approx(volume(costs, values))
    many = hypervolumes_of_two_costs(costs, np.array([values, values / 2]), REFERENCE)
    assert many == pytest.approx([volume(costs, values), volume(costs, values / 2)])
    nothing = ParetoFront3D.of(np.zeros((0, 2)), np.zeros(0), REFERENCE)
    assert nothing.hypervolume == 0


def test_what_is_certain_adds_exactly_what_it_adds(rng: np.random.Generator) -> None:
    costs, values = drawn(rng, 15)
    front = ParetoFront3D.of(costs, values, REFERENCE)
    new, expected = drawn(rng, 8)
    gains = front.expected_improvement(new, expected, np.zeros(8))
    for place in range(8):
        both = np.vstack([costs, new[place]]), np.append(values, expected[place])
        added = volume(*both) - volume(costs, values)
        assert gains[place] == pytest.approx(added, abs=1e-9)


def test_the_closed_form_is_what_monte_carlo_gives(rng: np.random.Generator) -> None:
    costs, values = drawn(rng, 12)
    front = ParetoFront3D.of(costs, values, REFERENCE)
    new, mean = drawn(rng, 3)
    std = rng.uniform(0.05, 0.3, 3)
    gains = front.expected_improvement(new, mean, std)
    before = volume(costs, values)
    for place in range(3):
        draws = rng.normal(mean[place], std[place], 2_000)
        both = np.vstack([costs, new[place]])
        added = [volume(both, np.append(values, draw)) - before for draw in draws]
        error = np.std(added) / np.sqrt(len(added))
        assert abs(gains[place] - np.mean(added)) < 4 * error + 1e-9


def test_a_second_cost_that_is_the_same_for_all_changes_nothing(rng: np.random.Generator) -> None:
    costs, values = drawn(rng, 12)
    first = costs[:, 0]
    flat = np.column_stack([first, np.full(12, 1.0)])
    one = ParetoFront2D.of(first, values, (REFERENCE[0], REFERENCE[2]))
    two = ParetoFront3D.of(flat, values, (REFERENCE[0], 2.0, REFERENCE[2]))
    new, mean, std = first[:5] * 0.9, values[5:10], np.full(5, 0.1)
    gains = two.expected_improvement(np.column_stack([new, np.full(5, 1.0)]), mean, std)
    assert gains == pytest.approx(one.expected_improvement(new, mean, std))
    assert two.hypervolume == pytest.approx(one.hypervolume)


def test_a_search_for_three_objectives_proposes_by_it_and_resumes() -> None:
    def run(*budgets: int) -> list[str]:
        store, space = Store("sqlite://"), space_with_costs(5, ("kernel", "filter_basis"))
        study = None
        for budget in budgets:
            asked = {"objectives": ("accuracy", "parameters", "macs"), "trials": budget}
            config = make_config({**asked, "backbone": "resnet_cifar", "epochs": 1})
            assert config.sampler == "ehvi"
            study = study or create_study(store, space, config)
            run_inline(engine_for(store, study, config, space), FakeEvaluator())
        trials = store.trials("study")
        assert sum(trial.origin == "sampler" for trial in trials) > 10
        return [trial.plan.fingerprint for trial in trials]

    whole = run(30)
    assert run(14, 21, 30) == whole
