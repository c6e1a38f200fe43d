"""What is passed in Python by mistake gets a sentence, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from isoshare import (
    Bank,
    IsoshareError,
    PlanError,
    SearchSpace,
    SharingPlan,
    Solver,
    Training,
    apply_plan,
    count_parameters,
    create_study,
    extra_loss,
    find_sites,
    inherit_weights,
    isomorphic_groups,
    load_weights,
    save_weights,
    solve,
)
from isoshare.space.plan import PlanFile

PLAN = SharingPlan((Bank("kernel", {}, ("1", "2")),))
Batches = list[tuple[Any, Any]]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 2))


def batches(change: Callable[[Tensor], Any] = lambda inputs: inputs) -> Batches:
    inputs = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return [(change(inputs), torch.zeros(8, dtype=torch.long))]


@pytest.mark.parametrize("ask", [find_sites, count_parameters, extra_loss])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("net.pt", "got 'net.pt'"),
        (network().state_dict(), "give it these weights by load_state_dict"),
        (nn.Sequential, "got the class Sequential: make one of it"),
        (None, "got None"),
    ],
)
def test_a_network_is_a_module(ask: Callable[[Any], object], given: Any, said: str) -> None:
    with pytest.raises(IsoshareError, match=said):
        ask(given)
    for also in (apply_plan, lambda one, plan: inherit_weights(one, plan, batches())):
        with pytest.raises(IsoshareError, match=said):
            also(given, PLAN)
    with pytest.raises(IsoshareError, match=said):
        solve(given, batches(), max_parameters=300)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("plan.json", r"SharingPlan\.load\('plan\.json'\) reads one"),
        (PlanFile.of(PLAN), r"it is the \.plan of a PlanFile"),
        (PLAN.banks, r"SharingPlan\(banks\) makes one"),
        (None, "got None"),
    ],
)
def test_a_plan_is_a_sharing_plan(given: Any, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        apply_plan(network(), given)
    with pytest.raises(PlanError, match=said):
        inherit_weights(network(), given, batches())


def test_weights_of_an_unknown_kind_are_not_taken_for_fresh_ones() -> None:
    with pytest.raises(PlanError, match="unknown weights 'inherrit': choose one of fresh, inherit"):
        apply_plan(network(), PLAN, weights="inherrit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("kernel", ("a", "b")), r"Bank\(method, options, sites\)"),
        (("kernel", None, ("a", "b")), r"Bank\(method, options, sites\)"),
        (("kernel", {}, None), "a tuple of names, got None"),
        (("kernel", {}, 5), "a tuple of names, got 5"),
        (("kernel", {}, "ab"), "a tuple of names, got 'ab'"),
        ((["kernel"], {}, ("a", "b")), "unknown method"),
    ],
)
def test_a_bank_has_a_method_options_and_sites(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Bank(*given)


@pytest.mark.parametrize("given", [PLAN.banks[0], "banks", None, 5, ("a", "b")])
def test_a_plan_is_made_of_banks(given: Any) -> None:
    with pytest.raises(PlanError, match="a tuple of Bank, got"):
        SharingPlan(given)


def test_a_variant_may_be_a_dictionary() -> None:
    given: Any = {"width": 8, "depth": 2}
    assert SharingPlan((), given) == SharingPlan((), (("depth", 2), ("width", 8)))


BAD_BATCHES = [
    (5, "pairs of inputs and targets, got 5"),
    ([], "there are no batches"),
    ([torch.zeros(8, 3, 8, 8)], "a batch is .* got a Tensor"),
    ([{"image": torch.zeros(8, 3, 8, 8)}], "a batch is .* got a dict"),
    (batches(lambda inputs: inputs[:, :1]), "cannot take the inputs.*to have 3 channels"),
    (batches(lambda inputs: inputs.double()), "cannot take the inputs"),
    (batches(lambda inputs: inputs / 0), "NaN or infinite"),
]


@pytest.mark.parametrize(("given", "said"), BAD_BATCHES, ids=[said for _, said in BAD_BATCHES])
def test_batches_are_pairs_that_the_network_can_take(given: Any, said: str) -> None:
    with pytest.raises(IsoshareError, match=said):
        inherit_weights(network(), PLAN, given)
    with pytest.raises(IsoshareError, match=said):
        Solver(network(), given)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    half = batches(lambda inputs: inputs.to(dtype))
    with pytest.raises(IsoshareError, match=r"0\.weight is torch\..*float16.*model\.float\(\)"):
        inherit_weights(network().to(dtype), PLAN, half)
    with pytest.raises(IsoshareError, match=r"0\.weight is torch\..*float16.*model\.float\(\)"):
        Solver(network().to(dtype), half)


def test_double_precision_is_solved_for() -> None:
    plan = solve(network().double(), batches(lambda inputs: inputs.double()), max_parameters=300)
    assert plan == solve(network(), batches(), max_parameters=300)


class OfDictionaries(nn.Module):
    """Takes a dictionary and returns one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        logits = self.net(inputs["image"])
        return {"logits": logits, "said": "two classes"}


def test_inputs_and_outputs_may_be_dictionaries() -> None:
    given = batches(lambda inputs: {"image": inputs})
    solver = Solver(OfDictionaries(), given, methods="kernel")
    plan = solver.plan(max_parameters=350)
    assert plan.sites == ("net.1", "net.2")
    shared = inherit_weights(OfDictionaries(), plan, given)
    assert count_parameters(shared) <= 350
    with pytest.raises(IsoshareError, match=r"max-macs.* where inputs are one tensor"):
        solver.plan(max_macs=350)


@pytest.mark.parametrize("value", ["9k", float("nan"), -1, 0, True, None])
def test_budgets_are_numbers_above_zero(value: Any) -> None:
    with pytest.raises(IsoshareError, match="max_parameters has to be a number above 0, got"):
        Solver(network(), batches()).plan(max_parameters=value)


def test_methods_and_loss_are_checked_before_anything_is_measured() -> None:
    with pytest.raises(IsoshareError, match="unknown method 'kernels': choose one of"):
        Solver(network(), batches(), methods=("kernels",))
    with pytest.raises(IsoshareError, match="loss has to be a function"):
        Solver(network(), batches(), loss="cross-entropy")  # type: ignore[arg-type]


def test_a_missing_file_of_weights_is_said_to_be_missing() -> None:
    with pytest.raises(IsoshareError, match=r"cannot read nowhere\.safetensors: No such file"):
        load_weights(network(), "nowhere.safetensors")


class OfTokens(nn.Module):
    """Takes whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.layers = nn.Sequential(*(nn.Conv1d(4, 4, 3, padding=1) for _ in range(3)))

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.layers(self.embedding(tokens).transpose(1, 2))
        return found.mean(2)


def test_inputs_may_be_whole_numbers() -> None:
    tokens = torch.randint(20, (16, 10), generator=torch.Generator().manual_seed(0))
    plan = solve(OfTokens(), [(tokens, None)], max_macs=10**6, max_parameters=220)
    assert plan.sites


def stored(folder: Path) -> dict[str, Any]:
    """What a study of one measured objective is made with."""
    return {"storage": f"sqlite:///{folder}/s.db", "objectives": ("loss:min", "parameters")}


def test_an_example_is_one_that_the_network_can_take(tmp_path: Path) -> None:
    asked = stored(tmp_path)
    with pytest.raises(IsoshareError, match=r"cannot take example_input.*to have 3 channels"):
        create_study(network, "grey", example_input=torch.zeros(1, 1, 8, 8), **asked)
    create_study(network, "grey", example_input=torch.zeros(1, 3, 8, 8), **asked)
    with pytest.raises(IsoshareError, match=r"objectives are names, as .* got 5"):
        create_study(network, "number", storage=asked["storage"], objectives=5)  # type: ignore[arg-type]


def test_what_is_told_is_a_trial(tmp_path: Path) -> None:
    asked = stored(tmp_path)
    study = create_study(network, "told", **asked)
    trial = study.ask()
    with pytest.raises(IsoshareError, match="a trial that ask gave, got 0"):
        study.tell(0, 0.5)  # type: ignore[arg-type]
    study.tell(trial, 0.5)


def test_a_study_of_whole_numbers_counts_what_an_input_costs(tmp_path: Path) -> None:
    class WithIdle(OfTokens):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Conv1d(4, 4, 3)

    tokens = torch.zeros(1, 10, dtype=torch.long)
    asked = stored(tmp_path) | {"objectives": ("loss:min", "macs"), "example_input": tokens}
    study = create_study(WithIdle, "tokens", **asked)
    unshared, shared = study.ask(), study.ask()
    assert not unshared.plan.sites
    assert shared.plan.sites == ("layers.0", "layers.1", "layers.2")


def test_what_an_example_costs_depends_on_neither_its_number_nor_its_precision(
    tmp_path: Path,
) -> None:
    asked = stored(tmp_path) | {"objectives": ("loss:min", "macs")}
    examples = {
        "one": torch.zeros(1, 3, 8, 8),
        "several": torch.zeros(5, 3, 8, 8),
        "double": torch.zeros(1, 3, 8, 8, dtype=torch.float64),
    }
    counted = set()
    for name, example in examples.items():
        made = network().double() if name == "double" else network()
        study = create_study(made, name, example_input=example, **asked)
        study.tell(study.ask(), 0.5)
        counted.add(study.trials[0].value("macs"))
    assert len(counted) == 1


FILE = PlanFile.of(PLAN)
NONE: Any = None
STATE: Any = network().state_dict()
OTHER: Any = network()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: save_weights(network(), "x", cast(Any, PLAN)),
            r"PlanFile, got .*PlanFile.of\(plan\) makes",
        ),
        (lambda: save_weights(network(), "x", FILE), "shares otherwise than by this plan, so"),
        (lambda: save_weights(STATE, "x", FILE), "got a OrderedDict"),
        (lambda: load_weights(cast(Any, "x"), OTHER), "a network is a torch.nn.Module, got 'x'"),
        (lambda: PLAN.save(NONE), "a file is named by a str or a pathlib.Path, got None"),
        (lambda: PLAN.save("no/such/plan.json"), "cannot write no/such/plan.json: there is no"),
        (
            lambda: SharingPlan.load(cast(Any, 3)),
            "a file is named by a str or a pathlib.Path, got 3",
        ),
        (lambda: isomorphic_groups(OTHER), r"as isoshare.find_sites\(network\) returns them"),
        (lambda: isomorphic_groups(NONE), "sites are those of a network.* got None"),
        (lambda: SearchSpace((), 1, "kernel"), r"methods are several, as \('kernel',\)"),
        (lambda: SearchSpace((), 1, ("kernal",)), "unknown method 'kernal': choose one of"),
        (lambda: Training(None, epochs=-1), "epochs of a Training is a whole number, 0 or more"),
        (lambda: Training(None, batch_size=cast(Any, "8")), "batch_size of a Training .* got '8'"),
    ],
)
def test_other_mistakes_get_a_sentence(call: Any, said: str) -> None:
    with pytest.raises(IsoshareError, match=said):
        call()


def test_a_study_takes_functions_and_known_states(tmp_path: Path) -> None:
    objectives = {"fit": "maximize", "parameters": "minimize"}
    study: Any = create_study(network, "one", objectives, storage=f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(
        IsoshareError, match="has to be a function of a network and a trial, got None"
    ):
        study.optimize(None, 1)
    trial = study.ask()
    with pytest.raises(IsoshareError, match="unknown state 'done': choose one of failed, finished"):
        study.tell(trial, 0.5, state="done")
    study.tell(trial, 0.5)


def test_what_shares_already_is_private() -> None:
    for method, options in (("low_rank", {"rank": 1}), ("anchored", {})):
        shared = apply_plan(network(), SharingPlan((Bank(method, options, ("1", "2")),)))
        assert not {"1", "2"} & {site.name for site in find_sites(shared)}
        with pytest.raises(PlanError, match="cannot share: its kernel is computed from other"):
            apply_plan(shared, PLAN)
