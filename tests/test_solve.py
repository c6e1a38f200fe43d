"""Plans for any budget: scores that are measured once, and a solver that is exact within them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import isoshare
from isoshare import IsoshareError, SearchSpace, SharingPlan, apply_plan, count_parameters
from isoshare.evaluators.objectives import exact_values
from isoshare.evaluators.sensitivities import plan_scores, sensitivity
from isoshare.evaluators.sensitivities.bank_projection import BankProjection
from isoshare.evaluators.sensitivities.plan_scores import GroupScores, PlanScores
from isoshare.evaluators.sensitivities.sensitivity import score_sharing, tied_pairs
from isoshare.evaluators.sensitivities.site_statistics import patches, site_statistics
from isoshare.evaluators.training.batches import threads_for_now
from isoshare.search.constraints import exact_limits
from isoshare.search.solver.group_options import nested_clusterings
from isoshare.search.solver.plan_solver import PlanSolver
from isoshare.search.solver.predicted_front import predicted_front
from isoshare.search.workflows.preparation.kept_moves import KeptMoves
from isoshare.space.backbones import build_backbone
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.sampled_space import SampledSpace
from isoshare.space.sites import find_sites
from tests.test_weight_projection import images, trained

Batch = tuple[Tensor, Tensor]


def batches(size: int = 8) -> list[Batch]:
    x, y = images(), torch.arange(32) % 3
    return [(x[start : start + size], y[start : start + size]) for start in range(0, 32, size)]


FEW = ("kernel", "anchored", "slice_generator")


def space_of(network: Any, methods: Sequence[str] = FEW) -> SearchSpace:
    sites = find_sites(network)
    costs = network_costs(network, sites, images()[:1])
    return SearchSpace(sites, count_parameters(network), tuple(methods), costs=costs)


def drawn(space: SearchSpace, seed: int = 0) -> PlanScores:
    """Scores by chance, of all that the space offers."""
    rng = random.Random(seed)
    groups = []
    for group in space.group_spaces:
        for offer in group.offers:
            count = len(group.names)
            pairs = {pair: rng.random() for pair in combinations(range(count), 2)}
            levels = {2: sum(pairs.values()) / len(pairs)}
            for size in range(3, count + 1):
                levels[size] = levels[2] * (size - 1) * (1 + rng.random())
            options = dict(offer.options)
            groups.append(GroupScores(offer.method, options, group.names, pairs, levels))
    wide = {
        (offer.method, offer.options): {
            name: rng.random() for names in space.wide.joining(offer) for name in names
        }
        for offer in space.wide.offers
    }
    return PlanScores(tuple(groups), wide)


def small() -> tuple[SearchSpace, PlanScores]:
    network = build_backbone("resnet_cifar", {"depth": 14, "width": 4})
    sites = find_sites(network)
    costs = network_costs(network, sites, torch.zeros(1, 3, 16, 16))
    methods = ("kernel", "anchored", "slice_generator")
    space = SearchSpace(sites, count_parameters(network), methods, costs=costs)
    return space, drawn(space)


BUDGETS: list[dict[str, float]] = [
    {"max_parameters": 0.8},
    {"max_parameters": 0.6},
    {"max_bytes": 0.7},
    {"max_macs": 1.01},
    {"max_device_bytes": 0.75},
    {"max_parameters": 0.7, "max_macs": 1.05},
    {"max_parameters": 0.6, "max_bytes": 0.65, "max_macs": 1.3},
]
"""As shares of what the unshared network has."""


COSTS = ("parameters", "bytes", "macs", "device_bytes")


def costs_of(space: SearchSpace, plan: SharingPlan) -> list[float]:
    return list(exact_values(COSTS, space, plan).values())


@pytest.fixture(scope="module")
def every() -> tuple[SearchSpace, PlanScores, list[tuple[float, ...]]]:
    """Every plan with its score and costs, of a network so small that they can all be tried."""
    torch.manual_seed(0)
    widths = [(3, 4), *[(4, 4)] * 4, (4, 6), (6, 6), (6, 6)]
    convs = [nn.Conv2d(*width, 3, padding=1) for width in widths]
    network = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    sites = find_sites(network)
    costs = network_costs(network, sites, torch.zeros(1, 3, 8, 8))
    space = SearchSpace(sites, count_parameters(network), ("kernel", "anchored"), costs=costs)
    scores = drawn(space)
    rows = [(scores.plan(p), *costs_of(space, p)) for p in space.plans()]
    assert len(rows) == space.count() > 100
    return space, scores, rows


@pytest.mark.parametrize("shares", BUDGETS)
def test_no_plan_within_the_budget_has_a_lower_score(every: Any, shares: dict[str, float]) -> None:
    space, scores, rows = every
    unshared = dict(zip(COSTS, costs_of(space, SharingPlan()), strict=True))
    budgets = {name: int(part * unshared[name[4:]]) for name, part in shares.items()}
    most = [budgets.get(f"max_{name}", 1e12) for name in COSTS]
    best = min(
        score for score, *costs in rows if all(c <= m for c, m in zip(costs, most, strict=True))
    )
    solver = PlanSolver(space, scores)
    solved = solver.solve(exact_limits(budgets))
    assert solved.score == pytest.approx(best)
    assert scores.plan(solved.plan) == pytest.approx(best)
    values = costs_of(space, solved.plan)
    assert all(value <= limit for value, limit in zip(values, most, strict=True))
    assert PlanSolver(space, scores).solve(exact_limits(budgets)).plan == solved.plan


def test_several_budgets_give_what_one_gives_where_the_others_are_wide() -> None:
    """Network-wide banks among them: the program and the fronts agree."""
    space, scores = small()
    solver = PlanSolver(space, scores)
    wide = 0
    for budget in (4_000, 5_000, 6_500, 8_000, 10_000):
        alone = solver.solve(exact_limits({"max_parameters": budget}))
        both = {"max_parameters": budget, "max_macs": 10**9}
        assert solver.solve(exact_limits(both)).score == pytest.approx(alone.score)
        wide += any(bank.method == "slice_generator" for bank in alone.plan.banks)
    assert wide, "some have a bank of the whole network"


def test_a_solved_plan_counts_when_built_what_the_budget_says() -> None:
    space, scores = small()
    network = build_backbone("resnet_cifar", {"depth": 14, "width": 4})
    solver = PlanSolver(space, scores)
    front = solver.front()
    for one in front[:: max(1, len(front) // 10)]:
        assert count_parameters(apply_plan(network, one.plan)) == one.cost
        found = solver.solve(exact_limits({"max_parameters": int(one.cost)}))
        assert found.score == one.score


def test_the_predicted_front_of_a_sampled_space_is_in_it(every: Any) -> None:
    whole, scores, _ = every
    some = SampledSpace(whole, list(whole.plans())[::7])
    front = predicted_front(some, scores)
    assert len(front) > 2
    for one in front:
        assert one.plan in some
        cheaper = [plan for plan in some.plans() if some.trainable_parameters(plan) < one.cost]
        assert all(scores.plan(plan) > one.score for plan in cheaper)
    best = [one.plan for one in predicted_front(whole, scores)]
    assert best == [one.plan for one in PlanSolver(whole, scores).front()]
    assert not all(plan in some for plan in best)


def plans_of(space: SearchSpace, scores: PlanScores) -> list[SharingPlan]:
    """The plans that are chosen, for one budget and for two."""
    solver = PlanSolver(space, scores)
    both = [{"max_parameters": most, "max_macs": 10**9} for most in range(4_000, 11_000, 1_000)]
    solved = [solver.solve(exact_limits(limits)).plan for limits in both]
    return [*(one.plan for one in solver.front()), *solved]


def test_between_equally_good_plans_it_is_not_noise_that_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space, scores = small()
    coarse = [
        replace(
            one,
            pairs={pair: 0.25 + round(2 * score) / 4 for pair, score in one.pairs.items()},
            levels={size: size / 4.0 for size in one.levels},
        )
        for one in scores.groups
    ]

    def noisy(seed: int) -> PlanScores:
        rng = random.Random(seed)
        groups = []
        for one in coarse:
            pairs = {pair: score * rng.uniform(1, 1 + 1e-5) for pair, score in one.pairs.items()}
            groups.append(replace(one, pairs=pairs))
        return replace(scores, groups=tuple(groups))

    expected = plans_of(space, noisy(0))
    for seed in (1, 2):
        assert plans_of(space, noisy(seed)) == expected
    monkeypatch.setattr(plan_scores, "BITS", 40)
    assert plans_of(space, noisy(1)) != plans_of(space, noisy(2)), "noise can be told from this"


def test_the_plan_does_not_depend_on_threads_nor_on_the_order_of_batches() -> None:
    network = trained()
    space = space_of(network, ("kernel", "anchored"))
    found = []
    for threads, known in ((1, batches()), (1, batches()[::-1]), (3, batches())):
        with threads_for_now(threads):
            scores = score_sharing(network, space, known, loss=functional.cross_entropy)
        found.append([one.plan for one in PlanSolver(space, scores).front()])
    assert len(found[0]) > 2
    assert all(one == found[0] for one in found)


def test_network_wide_banks_pay_their_fixed_part_once() -> None:
    space, scores = small()
    front = PlanSolver(space, scores).front()
    sizes = [one.cost for one in front]
    assert sizes == sorted(sizes)
    assert [one.score for one in front] == sorted((one.score for one in front), reverse=True)
    assert front[-1].plan == SharingPlan()
    assert front[-1].score == 0
    wide = [one for one in front if any(b.method == "slice_generator" for b in one.plan.banks)]
    assert wide, "the front has some"
    for one in wide:
        assert space.trainable_parameters(one.plan) == one.cost
        assert one.plan in space


def test_a_budget_that_cannot_be_met_names_the_smallest_that_can() -> None:
    space, scores = small()
    solver = PlanSolver(space, scores)
    least = int(solver.front()[0].cost)
    with pytest.raises(IsoshareError, match=f"smallest that can be has {least:,} parameters"):
        solver.solve(exact_limits({"max_parameters": least - 1}))
    assert solver.solve(exact_limits({"max_parameters": least})).cost == least
    with pytest.raises(IsoshareError, match="no plan keeps --max-parameters 1 and --max-macs 1"):
        solver.solve(exact_limits({"max_parameters": 1, "max_macs": 1}))
    with pytest.raises(IsoshareError, match="not --min-accuracy"):
        solver.solve(isoshare.search.constraints.limits_of({"min_accuracy": 0.5}))


def test_nested_clusterings_join_what_costs_least() -> None:
    near = {(0, 1): 0.1, (2, 3): 0.2}
    pairs = {pair: near.get(pair, 1.0) for pair in combinations(range(4), 2)}
    mean = sum(pairs.values()) / 6
    scores = GroupScores("kernel", {}, tuple("abcd"), pairs, {2: mean, 3: 2 * mean, 4: 3 * mean})
    steps = list(nested_clusterings("abcd", scores))
    assert steps == [(("a", "b"),), (("a", "b"), ("c", "d")), (("a", "b", "c", "d"),)]
    assert scores.bank([0, 1]) == pytest.approx(0.1, rel=1e-3)
    assert scores.bank([0, 1, 2, 3]) == pytest.approx(3 * mean, rel=1e-3)
    assert scores.bank([3]) == 0


def test_scores_do_not_depend_on_the_order_of_batches_nor_on_their_size() -> None:
    network = trained()
    space = space_of(network)
    expected = score_sharing(network, space, batches()).document()
    assert score_sharing(network, space, batches()[::-1]).document() == expected
    assert PlanScores.of(expected).document() == expected
    other = PlanScores.of(score_sharing(network, space, batches(16)).document())
    for plan in (space.fully_shared_plan(), *space.warm_starts().values()):
        assert other.plan(plan) == pytest.approx(PlanScores.of(expected).plan(plan), rel=1e-3)


def test_nothing_is_lost_where_kernels_are_equal_and_more_options_lose_less() -> None:
    network = trained()
    convs: list[Any] = [network.body[place] for place in (0, 3, 6, 9)]
    for conv in convs[1:]:
        conv.weight.data.copy_(convs[0].weight)
    space = space_of(network)
    scores = score_sharing(network, space, batches())
    whole = [site.name for site in find_sites(network) if site.name.startswith("body")]
    assert scores.plan(space.fully_shared_plan()) == pytest.approx(0, abs=1e-6)
    network = trained()
    scores = score_sharing(network, space, batches())
    kernel, anchored = (
        scores.plan(isoshare.SharingPlan((isoshare.Bank(name, {}, tuple(whole)),)))
        for name in ("kernel", "anchored")
    )
    assert 0 < anchored < kernel


def test_pairs_count_more_whose_tying_adds_more_loss() -> None:
    network = trained()
    space = space_of(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    known = [(x, network(x).argmax(1)) for x, _ in batches()]
    whole = [(torch.cat([x for x, _ in known]), torch.cat([y for _, y in known]))]
    plain = score_sharing(network, space, known)
    own = score_sharing(network, space, known, loss=functional.cross_entropy)
    double = score_sharing(
        network, space, known, loss=lambda x, y: 2 * functional.cross_entropy(x, y)
    )
    assert own.groups != plain.groups
    assert double.document() == own.document(), "what counts is which pairs add more"
    other = score_sharing(network, space, whole, loss=functional.cross_entropy)
    plan = space.fully_shared_plan()
    assert other.plan(plan) == pytest.approx(own.plan(plan), rel=1e-3)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


def test_whoever_waits_for_scores_sees_every_pair_pass() -> None:
    network = trained()
    space = space_of(network)
    known = [(x, network(x).argmax(1)) for x, _ in batches()]
    steps: list[tuple[int, int]] = []
    score_sharing(
        network,
        space,
        known,
        loss=functional.cross_entropy,
        heard=lambda done, of: steps.append((done, of)),
    )
    (total,) = {of for _, of in steps}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (total, total)
    assert len(steps) > len(tied_pairs(space)) > 1


def test_an_interrupted_scoring_goes_on_from_what_was_measured(tmp_path: Path) -> None:
    network = trained()
    space, path = space_of(network), tmp_path / "scores" / "moves.jsonl"
    expected = score_sharing(network, space, batches()).document()

    def interrupt(done: int, of: int) -> None:
        if done > of / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_sharing(network, space, batches(), heard=interrupt, known=KeptMoves(path))
    path.write_text(path.read_text()[:-20])  # killed while it wrote
    known = KeptMoves(path)
    before = dict(known)
    assert len(before) > 3
    with pytest.MonkeyPatch.context() as patch:
        moved = BankProjection.moved
        measured: list[int] = []

        def count(*asked: Any, **more: Any) -> dict[str, float]:
            measured.append(1)
            return moved(*asked, **more)

        patch.setattr(BankProjection, "moved", count)
        again = score_sharing(network, space, batches(), known=known)
    assert again.document() == expected
    assert len(measured) == len(known) - len(before)
    assert dict(KeptMoves(path)) == dict(known)
    known.drop()
    assert not path.exists()


def test_a_pair_that_the_network_does_not_mind_to_have_tied_counts_less() -> None:
    """Of two pairs that move their outputs alike one is multiplied with nothing afterwards."""
    torch.manual_seed(0)

    class TwoArms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heard = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
            self.unheard = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.heard(x) + 0 * self.unheard(x))
            return found

    network = TwoArms()
    network.unheard.load_state_dict(network.heard.state_dict())
    x = torch.randn(64, 6)
    y = network(x).argmax(1)
    space = SearchSpace(find_sites(network), count_parameters(network))
    (group,) = score_sharing(network, space, [(x, y)], loss=functional.cross_entropy).groups
    names = group.sites
    heard, unheard = (
        group.pairs[names.index(f"{arm}.0"), names.index(f"{arm}.2")]
        for arm in ("heard", "unheard")
    )
    assert unheard < heard / 2


@pytest.mark.parametrize("place", ["stem", "body.0", "body.3", "body.6", "body.9"])
def test_patches_are_what_an_output_is_computed_from(place: str) -> None:
    network = trained()
    conv: Any = network.get_submodule(place)
    seen: list[tuple[Tensor, Tensor]] = []
    conv.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        network(images(2))
    (inputs, output) = seen[0]
    rows = patches(conv, inputs)[:, 0] @ conv.weight.flatten(1).T
    if conv.bias is not None:
        rows = rows + conv.bias
    found = rows.view(2, -1, len(conv.weight)).transpose(1, 2)
    flat = output.flatten(2)
    chosen = torch.linspace(0, flat.shape[2] - 1, found.shape[2]).round().long()
    assert torch.allclose(found, flat[:, :, chosen], atol=1e-4)


def test_the_error_is_that_of_outputs_after_mean_and_scale_are_taken_away() -> None:
    network = trained()
    known = site_statistics(network, find_sites(network), batches())["body.0"]
    conv: Any = network.body[0]
    wanted, other = conv.weight.detach(), torch.randn_like(conv.weight)
    assert known.error(wanted, 3 * wanted) == pytest.approx(0, abs=1e-6)
    assert known.error(wanted, -wanted) == pytest.approx(2, abs=1e-9)
    assert 0 < known.error(wanted, wanted + 0.1 * other) < known.error(wanted, other)


def test_ten_lines_of_python() -> None:
    network = trained()
    plan = isoshare.solve(network, batches(), max_parameters=500)
    assert count_parameters(apply_plan(network, plan, weights="inherit")) <= 500
    solver = isoshare.Solver(network, batches(), methods=("kernel",))
    assert {bank.method for one in solver.front() for bank in one.banks} == {"kernel"}
    with pytest.raises(IsoshareError, match="budgets are max_parameters, max_bytes, max_macs"):
        solver.plan()
    with pytest.raises(IsoshareError, match="got max_layers"):
        solver.plan(max_layers=3)
    with pytest.raises(IsoshareError, match="there are no batches"):
        isoshare.solve(network, [], max_parameters=500)


class Windows(nn.Module):
    """A layer on the rows of images, as they are, folded into the batch, or twice a half."""

    def __init__(self, fold: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 3)
        self.fold = fold

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.folded(layer, x)
            torch.relu_(x)
        y: Tensor = self.head(x.mean(1))
        return y

    def folded(self, layer: nn.Module, x: Tensor) -> Tensor:
        if self.fold == "windows":
            return torch.cat([layer(x.reshape(-1, 2, 6)).view_as(x)])
        if self.fold == "halves":
            return torch.cat([layer(x[:, :4]), layer(x[:, 4:])], 1)
        found: Tensor = layer(x)
        return found


def test_windows_in_the_batch_and_several_calls_change_no_sensitivity() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(8, 8, 6), torch.arange(8) % 3
    found = []
    for fold in ("", "windows", "halves"):
        network = Windows(fold)
        space = SearchSpace(find_sites(network), count_parameters(network), ("kernel", "low_rank"))
        scores = [
            score_sharing(network, space, [(x[:5], y[:5]), (x[5:], y[5:])], loss=loss)
            for loss in (functional.cross_entropy, None)
        ]
        found.append([list(group.pairs.values()) for one in scores for group in one.groups])
    assert all(found[0])
    for other in found[1:]:
        for one, expected in zip(other, found[0], strict=True):
            assert one == pytest.approx(expected, rel=1e-2)  # L-BFGS in single precision


class Read(Windows):
    """Its owner reads the weights."""

    def folded(self, layer: Any, x: Tensor) -> Tensor:
        return functional.linear(x, layer.weight, layer.bias)


def test_what_is_never_called_has_no_known_price() -> None:
    network = Read("")
    space = SearchSpace(find_sites(network), count_parameters(network), ("kernel",))
    with pytest.raises(IsoshareError, match=r"'layers\.0' was not called on any of the inputs"):
        score_sharing(network, space, [(torch.randn(2, 8, 6), torch.zeros(2).long())])


def test_a_bank_is_scored_as_it_is_after_its_outputs_were_matched() -> None:
    network = trained()
    space = space_of(network)
    found = score_sharing(network, space, batches())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "MATCHING_WORK", 0)
        unmatched = score_sharing(network, space, batches())
    pairs = [
        (one.levels, other.levels)
        for one, other in zip(found.groups, unmatched.groups, strict=True)
    ]
    assert all(one[size] <= 1.001 * other[size] for one, other in pairs for size in one)
    assert any(one[size] < 0.95 * other[size] for one, other in pairs for size in one)
    for group, before in zip(found.groups, unmatched.groups, strict=True):
        assert sum(group.pairs.values()) / len(group.pairs) == pytest.approx(
            group.levels[2], rel=1e-4
        )
        ratios = [group.pairs[pair] / score for pair, score in before.pairs.items() if score > 1e-3]
        assert max(ratios) < 1.02 * min(ratios), "pairs compare about as they did"
    statistics = site_statistics(network, find_sites(network), batches())
    whole = next(one for one in found.groups if one.method == "kernel" and len(one.sites) > 2)
    sites = [site for site in space.sites if site.name in whole.sites]
    moved = BankProjection(network, statistics).moved(sites, "kernel", {}, matched=True)
    assert whole.bank(range(len(sites))) == pytest.approx(sum(moved.values()), rel=1e-3)


def test_a_pair_that_is_tied_without_loss_does_not_make_the_others_free() -> None:
    network = trained()
    space = space_of(network, ("kernel",))
    first, *_, last = next(group for group in space.groups if len(group) > 2)
    one: Any = network.get_submodule(first.name)
    other: Any = network.get_submodule(last.name)
    with torch.no_grad():
        other.weight.copy_(one.weight)
    (scores,) = (
        one for one in score_sharing(network, space, batches()).groups if first.name in one.sites
    )
    assert scores.pairs[0, len(scores.sites) - 1] == pytest.approx(0, abs=1e-5)
    assert scores.pairs[0, 1] > 0.1
    assert scores.levels[2] > 0.1
