"""The contract that every sharing method keeps, and what each method promises beyond it."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from isoshare import (
    Bank,
    PlanError,
    SharingPlan,
    Site,
    apply_plan,
    count_parameters,
    extra_loss,
    find_sites,
)
from isoshare.space.apply import plan_macs, plan_parameters
from isoshare.space.methods import METHODS
from isoshare.space.methods.anchored import Anchored
from isoshare.space.methods.parts.regulated_norm import RegulatedNorm
from isoshare.space.methods.slice_generator import SliceGenerated, reuse_generators
from isoshare.space.passes.forward_pass import network_costs
from tests.fakes import first_options

OPTIONS: dict[str, dict[str, Any]] = {
    **first_options(),
    "kernel": {},
    "anchored": {},
    "filter_basis": {"shared_rank": 3, "unique_rank": 2},
    "slice_generator": {"slice_size": 3, "code_size": 5},
    "low_rank": {"rank": 2},
}
VARIANTS = [
    *OPTIONS.items(),
    ("kernel", {"orthogonality": 0.5}),
    ("anchored", {"every": 2}),
    ("anchored", {"regulator_after": "batch_norm"}),
    ("filter_basis", {"shared_rank": 4, "orthogonality": 0.0}),
    ("slice_generator", {"slice_size": 2, "code_size": 4, "generator": "binary"}),
    ("slice_generator", {"slice_size": 8, "code_size": 4, "generator": "reused"}),
]
METHOD_NAMES = list(METHODS)


class Net(nn.Module):
    """Isomorphic convolutions that differ in stride, padding, dilation and bias, and a head."""

    def __init__(self, width: int = 4, sites: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        kinds: list[dict[str, Any]] = [
            {"padding": 1},
            {"padding": "same", "dilation": 2, "bias": False},
            {"padding": 1, "stride": 2},
            {"padding": 1, "padding_mode": "reflect"},
        ]
        layers: list[nn.Module] = []
        for place in range(sites):
            layers += [nn.Conv2d(width, width, 3, **kinds[place % 4]), nn.BatchNorm2d(width)]
            layers += [nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 2, height, width)."""
        logits: Tensor = self.head(self.body(self.stem(x)).mean(dim=(2, 3)))
        return logits


def body_sites(network: nn.Module) -> tuple[str, ...]:
    return tuple(site.name for site in find_sites(network) if site.name.startswith("body"))


def plan_of(method: str, options: dict[str, Any], network: nn.Module) -> SharingPlan:
    return SharingPlan((Bank(method, options, body_sites(network)),))


def shared_net(method: str, options: dict[str, Any] | None = None, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    network = Net()
    return apply_plan(network, plan_of(method, options or OPTIONS[method], network))


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 2, 9, 9, generator=torch.Generator().manual_seed(0))


def aliases(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    yield from network.named_parameters(remove_duplicate=False)


def test_every_method_is_tested() -> None:
    assert set(OPTIONS) == set(METHODS)


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_a_site_keeps_its_output_shape(method: str, options: dict[str, Any]) -> None:
    network = Net()
    shared = apply_plan(network, plan_of(method, options, network))
    shapes: dict[str, list[torch.Size]] = {}
    for net in (network, shared):
        for name in body_sites(network):
            net.get_submodule(name).register_forward_hook(
                lambda _m, _i, output, name=name: shapes.setdefault(name, []).append(output.shape)
            )
        net(images())
    assert len(shapes) == 4
    assert all(before == after for before, after in shapes.values())


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_the_closed_forms_are_what_is_counted(method: str, options: dict[str, Any]) -> None:
    network = Net()
    plan, sites = plan_of(method, options, network), find_sites(network)
    shared = apply_plan(network, plan)
    assert plan_parameters(plan, sites, count_parameters(network)) == count_parameters(shared)
    where = network_costs(network, sites, images(1)).positions
    assert plan_macs(plan, sites, where) == counted_macs(shared)
    assert plan_macs(SharingPlan(), sites, where) == counted_macs(network)


def counted_macs(network: nn.Module) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images(1))  # generated kernels are cached here
    first = counter.get_total_flops() // 2
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images(1))
    second: int = counter.get_total_flops() // 2
    assert second <= first
    return second


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_closed_form_of_mixed_plans_is_what_is_counted(data: st.DataObject) -> None:
    network = Net(data.draw(st.integers(1, 9)), sites=6)
    names = list(body_sites(network))
    cut = sorted(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=2)))
    rank, size = st.integers(1, 12), st.integers(1, 20)
    banks = []
    for part in (names[: cut[0]], names[cut[0] : cut[1]], names[cut[1] :]):
        options: dict[str, dict[str, Any]] = {
            **first_options(),
            "kernel": {},
            "anchored": {"every": data.draw(st.integers(1, 4))},
            "low_rank": {"rank": data.draw(rank)},
            "filter_basis": {
                "shared_rank": data.draw(rank),
                "unique_rank": data.draw(st.integers(0, 5)),
            },
            "slice_generator": {
                "slice_size": data.draw(size),
                "code_size": data.draw(size),
                "generator": data.draw(st.sampled_from(["trained", "reused", "binary"])),
            },
        }
        method = data.draw(st.sampled_from(METHOD_NAMES))
        banks += [Bank(method, options[method], tuple(part))] if part else []
    plan = SharingPlan(tuple(banks))
    shared = apply_plan(network, plan)
    unshared = count_parameters(network)
    assert count_parameters(shared) == plan_parameters(plan, find_sites(network), unshared)
    assert shared(images()).shape == (2, 3)


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_the_gradient_of_a_shared_tensor_is_the_sum_over_its_uses(
    method: str, options: dict[str, Any]
) -> None:
    shared = shared_net(method, options).double()
    untied = copy.deepcopy(shared)
    for name, tensor in list(aliases(untied)):
        path, _, leaf = name.rpartition(".")
        alone = nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)
        untied.get_submodule(path)._parameters[leaf] = alone
    assert count_parameters(untied) > count_parameters(shared) or options.get("generator")
    for network in (shared, untied):
        network(images().double()).square().sum().backward()
    summed: dict[int, Tensor] = {}
    for (_, tensor), (_, alone) in zip(aliases(shared), aliases(untied), strict=True):
        if alone.grad is not None:
            summed[id(tensor)] = summed.get(id(tensor), torch.zeros(())) + alone.grad
    for tensor in shared.parameters():
        if tensor.requires_grad:
            assert tensor.grad is not None
            assert torch.allclose(tensor.grad, summed[id(tensor)], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_an_optimizer_has_one_entry_for_each_shared_tensor(
    method: str, options: dict[str, Any]
) -> None:
    shared = shared_net(method, options)
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1, momentum=0.9)
    shared(images()).sum().backward()
    optimizer.step()
    trained = [tensor for tensor in shared.parameters() if tensor.requires_grad]
    assert len(optimizer.state) == len(trained) == len({id(tensor) for tensor in trained})


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save and load", "state_dict"])
@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_ties_survive(method: str, options: dict[str, Any], how: str) -> None:
    shared = shared_net(method, options).eval()
    with torch.no_grad():
        shared(images())  # fills what is cached
    if how == "deepcopy":
        again = copy.deepcopy(shared)
    elif how == "pickle":
        again = pickle.loads(pickle.dumps(shared))
    elif how == "save and load":
        file = io.BytesIO()
        torch.save(shared, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
    else:
        again = shared_net(method, options, seed=1).eval()
        again.load_state_dict(shared.state_dict())
    assert count_parameters(again) == count_parameters(shared)
    assert torch.equal(again(images()), shared(images()))
    with torch.no_grad():
        for tensor in again.parameters():
            tensor.mul_(1.5)
    groups = [
        [name for name, t in aliases(net) if t is p]
        for net in (shared, again)
        for p in net.parameters()
    ]
    assert groups[: len(groups) // 2] == groups[len(groups) // 2 :]
    assert not torch.equal(again(images()), shared(images()))


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_the_same_seed_makes_the_same_weights(method: str, options: dict[str, Any]) -> None:
    one, two, other = (shared_net(method, options, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_new_parts_follow_mode_precision_and_hooks_of_the_convolution(
    method: str, options: dict[str, Any]
) -> None:
    network = Net().double().eval()
    calls = []
    network.body[0].register_forward_hook(lambda *_: calls.append(1))
    shared = apply_plan(network, plan_of(method, options, network))
    assert not any(part.training for part in shared.modules())
    assert {tensor.dtype for tensor in shared.parameters()} == {torch.float64}
    shared(images().double())
    assert calls == [1]


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_sites_that_do_not_fit_are_refused_with_both_shapes(method: str) -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 5))
    with pytest.raises(PlanError, match=r"0 is 2→4 3x3, but 1 is 4→4 5x5"):
        apply_plan(network, SharingPlan((Bank(method, OPTIONS[method], ("0", "1")),)))


class Scaled(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        return 2 * super().forward(x)


def test_convolutions_with_a_forward_of_their_own_share_kernels_only() -> None:
    network = nn.Sequential(Scaled(2, 2, 3, padding=1), Scaled(2, 2, 3, padding=1))
    for method in METHODS:
        plan = SharingPlan((Bank(method, OPTIONS[method], ("0", "1")),))
        if method == "kernel":
            assert isinstance(apply_plan(network, plan)[0], Scaled)  # type: ignore[index]
        else:
            with pytest.raises(PlanError, match=r"subclass of nn\.Conv2d or has parts of its"):
                apply_plan(network, plan)


def test_grouped_convolutions_have_filters_in_their_groups() -> None:
    network = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1, groups=2) for _ in range(3)))
    with pytest.raises(PlanError, match=r"multiple of the groups, got 3, but 0 is .* take 4"):
        apply_plan(network, SharingPlan((Bank("filter_basis", OPTIONS["filter_basis"], ("0",)),)))
    for method in METHODS:
        options = {**OPTIONS[method], **({"shared_rank": 4} if method == "filter_basis" else {})}
        plan = SharingPlan((Bank(method, options, ("0", "1", "2")),))
        shared = apply_plan(network, plan)
        expected = plan_parameters(plan, find_sites(network), count_parameters(network))
        assert count_parameters(shared) == expected
        assert shared(torch.randn(1, 4, 5, 5)).shape == (1, 4, 5, 5)


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("filter_basis", {}, "shared_rank: field required"),
        ("filter_basis", {"shared_rank": 0}, "greater than or equal to 1, got 0"),
        ("filter_basis", {"shared_rank": 2.5}, "valid integer, got 2.5"),
        ("slice_generator", {"slice_size": 16}, "code_size: field required"),
        ("slice_generator", {"slice_size": 1, "code_size": 1, "generator": "x"}, "'binary'"),
        ("anchored", {"every": 0}, "greater than or equal to 1"),
        ("kernel", {"rank": 3}, "rank"),
        ("kernel", {"orthogonality": -1.0}, "greater than 0"),
        ("filter_basis", {"shared_rank": 2, "orthogonality": float("nan")}, "finite"),
    ],
)
def test_wrong_options_are_refused(method: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Bank(method, options, ("a", "b"))


def test_options_left_at_nothing_are_not_written() -> None:
    assert Bank("kernel", {}, ("a", "b")).document["options"] == {}
    assert Bank("filter_basis", {"shared_rank": 2}, ("a", "b")).options["unique_rank"] == 0


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_values_worth_trying_are_options_and_fit(method: str) -> None:
    network = Net(8)
    sites = [site for site in find_sites(network) if site.name.startswith("body")]
    for name, values in METHODS[method].implementation.option_values(sites).items():
        assert len(values) > 1
        assert list(values) == sorted(set(values))
        for value in values:
            bank = Bank(method, {**OPTIONS[method], name: value}, ("a", "b"))
            assert bank.options[name] == value


# kernel and anchored


def test_an_anchored_bank_starts_as_kernel_sharing_and_its_regulators_learn() -> None:
    plain, anchored = shared_net("kernel").eval(), shared_net("anchored").eval()
    assert torch.allclose(plain(images()), anchored(images()), atol=1e-6)
    anchored(images()).square().sum().backward()
    hosts = [part for part in anchored.modules() if isinstance(part, Anchored)]
    assert len(hosts) == 4
    for host in hosts:
        assert host.regulator.weight.grad is not None
        assert host.regulator.weight.grad.abs().sum() > 0


def test_every_second_site_has_a_regulator_counted_from_the_last() -> None:
    shared = shared_net("anchored", {"every": 2})
    assert [isinstance(shared.body[place], Anchored) for place in (0, 3, 6, 9)] == [
        False,
        True,
        False,
        True,
    ]


def test_a_regulator_can_stand_after_the_batch_normalisation() -> None:
    shared = shared_net("anchored", {"regulator_after": "batch_norm"})
    assert all(isinstance(shared.body[place], RegulatedNorm) for place in (1, 4, 7, 10))
    assert type(shared.body[0]) is nn.Conv2d
    bare = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    plan = SharingPlan((Bank("anchored", {"regulator_after": "batch_norm"}, ("0", "1")),))
    with pytest.raises(PlanError, match="right after '0', there is Conv2d; use 'convolution'"):
        apply_plan(bare, plan)


def test_the_orthogonality_of_a_kernel_is_counted_once_a_bank() -> None:
    shared = shared_net("kernel", {"orthogonality": 0.5})
    rows = shared.body[0].weight.flatten(1)
    expected = 0.5 * (rows @ rows.T - torch.eye(4)).square().mean()
    assert torch.allclose(extra_loss(shared) or torch.zeros(()), expected)
    assert extra_loss(shared_net("kernel")) is None


# filter_basis


def test_unique_filters_come_first_then_batch_normalisation_then_coefficients() -> None:
    shared = shared_net("filter_basis").eval()
    site = shared.body[0]
    assert torch.equal(site.filters, torch.cat([site.unique, site.basis]))
    x = torch.randn(1, 4, 6, 6)
    raw = nn.functional.conv2d(x, torch.cat([site.unique, site.basis]), padding=1)
    by_hand = site.coefficients(site.norm(raw)) + site.bias[:, None, None]
    assert torch.allclose(site(x), by_hand)
    assert site.norm.num_features == 5
    assert all(shared.body[place].basis is site.basis for place in (3, 6, 9))


def test_a_fresh_shared_basis_is_orthonormal() -> None:
    torch.manual_seed(0)
    network = Net(8)
    plan = plan_of("filter_basis", {"shared_rank": 16}, network)
    found = extra_loss(apply_plan(network, plan))
    assert found is not None
    assert found.item() <= 1e-12


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_the_orthogonality_loss_is_that_of_the_paper(unique: bool, double: bool) -> None:
    """λ (Σ S_g) / (Σ n_g), with the bases of a double plan together."""
    network = Net(4, sites=6)
    names = body_sites(network)
    options = {"shared_rank": 3, "unique_rank": 2, "orthogonal_unique": unique}
    parts = (names[0::2], names[1::2]) if double else (names,)
    shared = apply_plan(
        network, SharingPlan(tuple(Bank("filter_basis", options, part) for part in parts))
    )
    hosts: list[Any] = [shared.get_submodule(name) for name in names]
    bases = [host.basis for host in (hosts[0], hosts[1])][: len(parts)]
    own = [host.unique.flatten(1) for host in hosts] if unique else []
    rows = torch.cat([*(basis.flatten(1) for basis in bases), *own])
    s, u, n = 3 * len(parts), 2 if unique else 0, 6
    distance = (rows @ rows.T - torch.eye(len(rows))).square()
    total = distance[:s].sum()
    total += sum((one @ one.T - torch.eye(2)).square().sum() for one in own)
    entries = s * (s + n * u) + n * u**2
    assert torch.allclose(extra_loss(shared) or torch.zeros(()), 10 * total / entries)


def test_of_the_orthogonality_loss_there_are_parts_by_site() -> None:
    """The part of a bank has its gradients, with those of the bases that it is kept apart from."""
    network = Net(4, sites=6)
    names = body_sites(network)
    options = {"shared_rank": 3, "unique_rank": 1}
    parts = (names[:2], names[2:4], names[4:])
    shared = apply_plan(
        network, SharingPlan(tuple(Bank("filter_basis", options, part) for part in parts))
    )
    host: Any = shared.get_submodule(names[0])
    extra = METHODS["filter_basis"].implementation.extra_loss

    def gradients(sites: tuple[str, ...] | None) -> list[Tensor]:
        found = extra(shared, sites)
        assert found is not None
        return list(torch.autograd.grad(found, [host.basis, host.unique]))

    for one, other in zip(gradients(names[:1]), gradients(None), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert extra(shared, ()) is None


# slice_generator


def test_a_kernel_is_codes_times_generator_viewed_flat_and_cropped() -> None:
    site = shared_net("slice_generator").body[0]
    flat = torch.zeros(6 * 6 * 9)
    for place, code in enumerate(site.codes):
        flat[place * 81 : (place + 1) * 81] = site.generator @ code
    assert torch.allclose(site.made_weight(), flat.view(6, 6, 3, 3)[:4, :4], atol=1e-6)
    assert site.generator.shape == (3 * 3 * 3 * 3, 5)
    assert site.codes.shape == (4, 5)


def test_one_generator_serves_sites_of_different_channels() -> None:
    network = Net()
    names = tuple(site.name for site in find_sites(network) if site.kernel_size == (3, 3))
    shared: Any = apply_plan(
        network, SharingPlan((Bank("slice_generator", OPTIONS["slice_generator"], names),))
    )
    assert shared.stem.generator is shared.body[0].generator
    assert shared.stem.codes.shape == (2, 5)
    assert shared.stem.made_weight().shape == (4, 2, 3, 3)


def test_generated_kernels_start_at_the_kaiming_scale() -> None:
    torch.manual_seed(0)
    network = Net(64)
    for generator in ("trained", "binary"):
        options = {"slice_size": 16, "code_size": 32, "generator": generator}
        shared: Any = apply_plan(network, plan_of("slice_generator", options, network))
        assert shared.body[3].made_weight().std().item() == pytest.approx(
            (2 / (64 * 9)) ** 0.5, rel=0.1
        )


def count_generations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    generate = SliceGenerated.generate

    def counted(self: SliceGenerated) -> Tensor:
        calls.append(1)
        made: Tensor = generate(self)
        return made

    monkeypatch.setattr(SliceGenerated, "generate", counted)
    return calls


def test_kernels_are_generated_once_a_forward_and_cached_in_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = shared_net("slice_generator")
    calls = count_generations(monkeypatch)
    shared(images())
    assert len(calls) == 4
    with torch.no_grad():
        before = shared.eval()(images())
        assert torch.equal(shared(images()), before)
        assert len(calls) == 8
        shared.body[0].codes.mul_(2)
        assert not torch.equal(shared(images()), before)
        assert len(calls) == 9
        shared.body[0].generator.mul_(2)
        shared(images())
        assert len(calls) == 13


def test_a_cached_kernel_follows_the_weights_that_are_loaded_or_trained() -> None:
    shared, other = shared_net("slice_generator"), shared_net("slice_generator", seed=1)
    for network in (shared, other):
        with torch.no_grad():
            network.eval()(images())
    shared.load_state_dict(other.state_dict())
    with torch.no_grad():
        assert torch.equal(shared(images()), other(images()))
    for fused in (False, True):  # a fused step does not advance version counters
        with torch.no_grad():
            before = shared(images())
        shared(images()).sum().backward()
        torch.optim.SGD(shared.parameters(), lr=0.1, fused=fused).step()
        with torch.no_grad():
            assert not torch.equal(shared(images()), before)


@pytest.mark.parametrize("generator", ["binary", "reused"])
def test_a_frozen_generator_gets_no_gradient(generator: str) -> None:
    shared = shared_net(
        "slice_generator", {"slice_size": 3, "code_size": 5, "generator": generator}
    )
    shared(images()).sum().backward()
    assert shared.body[0].generator.grad is None
    assert shared.body[0].codes.grad is not None
    if generator == "binary":
        assert set(shared.body[0].generator.unique().tolist()) == {-0.5, 0.5}


def test_a_generator_can_be_reused_from_another_network() -> None:
    source = shared_net("slice_generator", seed=1)
    options = {**OPTIONS["slice_generator"], "generator": "reused"}
    network = shared_net("slice_generator", options)
    reuse_generators(network, source)
    assert torch.equal(network.body[0].generator, source.body[0].generator)
    assert not network.body[0].generator.requires_grad
    with pytest.raises(PlanError, match=r"the network has \[\(81, 5\)\], the source \[\]"):
        reuse_generators(network, Net())


def test_sites_know_whether_they_are_plain() -> None:
    assert find_sites(Scaled(2, 2, 3))[0] == Site("", (3, 3), 2, 2, bias=True, subclass=True)
