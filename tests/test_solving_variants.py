"""Plans for any budget over the variants of a backbone, each trained as it is and fully shared."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import isoshare
from isoshare import IsoshareError, SharingPlan, count_parameters
from isoshare.search.constraints import Constraint, exact_limits
from isoshare.search.solver.plan_solver import PlanSolver, Solved
from isoshare.search.solver.variant_solver import Ends, VariantSolver
from isoshare.space.plan import PlanFile, Variant
from tests.fakes import Command
from tests.test_inheriting_variants import seeded
from tests.test_solve import drawn, space_of
from tests.test_weight_projection import trained

WORDS = (
    *("solve", "convmixer", "--vary", "width=4,6", "--backbone-arg", "depth=2", "--backbone-arg"),
    *("kernel=3", "--backbone-arg", "patch=2", "--methods", "kernel", "--dataset", "digits"),
    *("--pretrain-epochs", "1", "--batch-size", "32"),
)
NARROW: Variant = (("width", 4),)
WIDE: Variant = (("width", 8),)


class Fixed(PlanSolver):
    """Knows its plans: (parameters, score), the unshared one first, the fully shared one last."""

    def __init__(self, variant: Variant, plans: Sequence[tuple[float, float]]) -> None:
        self._plans = [
            Solved(SharingPlan(variant=variant), score, cost) for cost, score in reversed(plans)
        ]
        self.space: Any = self
        self.smallest_plan = SharingPlan(variant=variant)

    @property
    def fully_shared(self) -> float:
        """The highest score."""
        return self._plans[0].score

    def trainable_parameters(self, _: SharingPlan) -> float:
        """Of the smallest."""
        return self._plans[0].cost

    def front(self, objective: str = "parameters") -> list[Solved]:
        """All of them."""
        assert objective == "parameters"
        return self._plans

    def solve(self, limits: Sequence[Constraint]) -> Solved:
        """The dearest that fits."""
        for one in reversed(self._plans):
            if one.cost <= limits[0].value:
                return one
        raise IsoshareError(f"the smallest has {self._plans[0].cost}")


def both() -> VariantSolver:
    """A wide network that sharing harms, in large scores, and a narrow one that it does not."""
    wide = Fixed(WIDE, [(800, 0.0), (500, 10.0), (300, 40.0)])
    narrow = Fixed(NARROW, [(400, 0.0), (200, 0.01)])
    ends = {WIDE: Ends(0.9, 0.7), NARROW: Ends(0.8, 0.82)}
    return VariantSolver({WIDE: wide, NARROW: narrow}, ends)


def test_variants_are_compared_by_what_is_expected_between_their_ends() -> None:
    front = [(one.cost, one.plan.variant, one.accuracy) for one in both().front()]
    assert front == [
        (200, NARROW, 0.8),  # that sharing is better than nothing is taken for luck
        (500, WIDE, pytest.approx(0.85)),
        (800, WIDE, pytest.approx(0.9)),
    ]
    for budget, variant, cost in ((900, WIDE, 800), (450, NARROW, 400), (250, NARROW, 200)):
        solved = both().solve(exact_limits({"max_parameters": budget}))
        assert (solved.plan.variant, solved.cost) == (variant, cost)
    with pytest.raises(IsoshareError, match="the smallest has 200"):
        both().solve(exact_limits({"max_parameters": 9}))


def test_one_variant_alone_is_solved_as_ever() -> None:
    space = space_of(trained())
    solver = PlanSolver(space, drawn(space))
    alone = VariantSolver({(): solver}, {(): Ends(0.9, 0.5)})
    best: dict[float, Solved] = {one.cost: one for one in solver.front()}
    assert {one.cost: one.plan for one in alone.front()} == {c: s.plan for c, s in best.items()}
    assert solver.fully_shared == solver.solve([]).score + drawn(space).plan(
        space.fully_shared_plan()
    )


def test_a_plan_is_solved_over_all_variants_and_trained_on_its_own(
    command: Command, tmp_path: Path
) -> None:
    plan, sweep = tmp_path / "plan.json", tmp_path / "front.csv"
    asked = (*WORDS, "--max-parameters", 440, "-o", plan, "--json", "--sweep", sweep)
    code, out, said = command(*asked)
    assert code == 0, said
    assert "4 networks are trained first, for 1 epoch each: about" in said
    found = json.loads(out)
    file = PlanFile.load(plan)
    assert file.plan.variant == tuple(found["arguments"].items())
    assert file.plan.fingerprint == found["fingerprint"]
    assert found["parameters"]["shared"] <= 440
    assert 0 < found["expected_accuracy"] <= 1
    rows = [*csv.DictReader(sweep.read_text().splitlines())]
    assert len(rows) == found["plans"]
    assert {row["width"] for row in rows} <= {"4", "6"}
    accuracies = [float(row["accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies)
    assert sweep.with_suffix(".png").stat().st_size > 5_000
    code, out, said = command(*asked)
    assert (code, json.loads(out), "are trained" in said) == (0, found, False)
    code, out, _ = command("inspect", plan, "--json")
    assert json.loads(out)["parameters"] == found["parameters"]
    weights = tmp_path / "model.safetensors"
    code, out, said = command("train", plan, "--epochs", 1, "-o", weights, "--json")
    assert (code, json.loads(out)["parameters"]) == (0, found["parameters"]["shared"]), said


def test_given_weights_are_those_of_the_variant_that_they_fit(
    command: Command, tmp_path: Path
) -> None:
    torch.save(seeded(4).state_dict(), tmp_path / "w.pt")
    given = ("--weights", tmp_path / "w.pt", "--max-parameters", 9999, "-o", tmp_path / "p.json")
    code, _, said = command(*WORDS, *given)
    assert code == 0, said
    assert "w.pt fits width=4; the other one is trained first" in said
    assert "3 networks are trained first" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--max-parameters", 9), "the smallest that can be has"),
        ((), "a plan is solved for a budget"),
    ],
)
def test_what_cannot_be_solved_is_told(
    command: Command, tmp_path: Path, words: tuple[Any, ...], sentence: str
) -> None:
    code, _, said = command(*WORDS, *words, "-o", tmp_path / "plan.json")
    assert (code, sentence in said) == (2, True), said


def test_options_of_a_training_are_for_variants(command: Command, tmp_path: Path) -> None:
    words = ("solve", "convmixer", "--pretrain-epochs", 3, "--pretrained", "--max-bytes", 9)
    code, _, said = command(*words, "-o", tmp_path / "plan.json")
    assert code == 2
    assert "--pretrain-epochs says how variants of a backbone are trained: add --vary" in said


class Layers(nn.Module):
    """Three equal layers of some width, and a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Linear(4, width)
        self.body = nn.Sequential(*(nn.Linear(width, width) for _ in range(3)))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 4)."""
        y: Tensor = self.head(self.body(self.stem(x)))
        return y


def test_variants_are_solved_in_python_too() -> None:
    torch.manual_seed(0)
    trained_ones: list[tuple[int, int]] = []

    def train(network: Any) -> float:
        width: int = network.stem.out_features
        trained_ones.append((width, count_parameters(network)))
        return 0.5 + 0.01 * width + (0.1 if len(trained_ones) % 2 else 0.0)  # unshared first

    batches = [(torch.randn(32, 4), torch.zeros(32).long())]
    asked: dict[str, Any] = {"methods": ("kernel",), "vary": {"width": [6, 8]}}
    solver = isoshare.Solver(Layers, batches, train=train, **asked)
    whole = {width: count_parameters(Layers(width)) for width in (6, 8)}
    assert [width for width, _ in trained_ones] == [6, 6, 8, 8]
    assert [size for _, size in trained_ones[::2]] == list(whole.values())
    assert all(size < whole[width] for width, size in trained_ones[1::2])
    for budget, width in ((whole[8], 8), (whole[8] - 1, 8), (150, 6)):
        plan = solver.plan(max_parameters=budget)
        shared = isoshare.apply_plan(Layers(width), plan)
        assert dict(plan.variant) == {"width": width}
        assert count_parameters(shared) <= budget
    assert {dict(plan.variant)["width"] for plan in solver.front()} == {6, 8}
    for model, trains in ((Layers(6), train), (Layers, None)):
        with pytest.raises(IsoshareError, match="vary needs the function"):
            isoshare.Solver(model, batches, train=trains, **asked)
    with pytest.raises(IsoshareError, match="train is for the networks of vary"):
        isoshare.Solver(Layers(6), batches, train=train)
