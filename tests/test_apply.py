"""Applying a plan: exact counts, true ties, an untouched original, refusals with both shapes."""

from __future__ import annotations

import copy
import io
import pickle
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from isoshare import (
    Bank,
    PlanError,
    SearchSpace,
    SharingPlan,
    apply_plan,
    count_parameters,
    find_sites,
    isomorphic_groups,
)
from isoshare.space.apply import plan_parameters
from isoshare.space.backbones import build_backbone
from tests.fakes import ThreeSites, conv

SMALL = {"depth": 14, "width": 4, "in_channels": 1}
SHARED = SharingPlan((Bank("kernel", {}, ("convs.0", "convs.2")),))


def images(channels: int = 2) -> Tensor:
    return torch.randn(4, channels, 8, 8, generator=torch.Generator().manual_seed(0))


def test_an_empty_plan_leaves_outputs_bit_equal() -> None:
    for name, arguments in (("resnet_cifar", SMALL), ("torchvision.models:resnet18", {})):
        module = build_backbone(name, arguments).eval()
        x = torch.randn(2, 1 if arguments else 3, 32, 32)
        assert torch.equal(module(x), apply_plan(module, SharingPlan())(x))


def test_the_module_stays_as_it_was() -> None:
    module = ThreeSites()
    before = copy.deepcopy(module.state_dict())
    shared = apply_plan(module, SHARED)
    with torch.no_grad():
        conv(shared, "convs.0").weight.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert len({id(layer.weight) for layer in module.convs}) == 3


def test_a_bank_is_one_parameter_counted_trained_and_saved_once() -> None:
    module = ThreeSites(bias=True)
    shared = apply_plan(module, SHARED)
    first, last = conv(shared, "convs.0"), conv(shared, "convs.2")
    assert first.weight is last.weight
    assert first.bias is last.bias
    assert count_parameters(shared) == count_parameters(module) - (2 * 2 * 9 + 2)
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1, momentum=0.9)
    shared(images()).sum().backward()
    optimizer.step()
    assert len(optimizer.state) == len(list(shared.parameters())) == 6
    size = {key: _saved_bytes(net) for key, net in (("shared", shared), ("module", module))}
    assert size["shared"] < size["module"]


def _saved_bytes(module: nn.Module) -> int:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    return len(file.getvalue())


def test_the_gradient_is_the_sum_over_the_uses() -> None:
    shared = apply_plan(ThreeSites(), SHARED)
    untied = copy.deepcopy(shared)
    for name in ("convs.0", "convs.2"):
        conv(untied, name).weight = nn.Parameter(conv(untied, name).weight.detach().clone())
    for net in (shared, untied):
        loss = functional.cross_entropy(net(images()), torch.tensor([0, 1, 2, 3]))
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = [conv(untied, name).weight.grad for name in ("convs.0", "convs.2")]
    assert gradients[0] is not None
    assert gradients[1] is not None
    summed = conv(shared, "convs.0").weight.grad
    assert summed is not None
    assert torch.allclose(summed, gradients[0] + gradients[1], atol=1e-7)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict"])
def test_ties_survive(how: str) -> None:
    shared = apply_plan(ThreeSites(), SHARED)
    if how == "deepcopy":
        again = copy.deepcopy(shared)
    elif how == "pickle":
        again = pickle.loads(pickle.dumps(shared))
    else:
        again = apply_plan(ThreeSites(), SHARED)
        again.load_state_dict(shared.state_dict())
    assert conv(again, "convs.0").weight is conv(again, "convs.2").weight
    assert torch.equal(again(images()), shared(images()))


def test_a_shared_network_can_be_exported() -> None:
    shared = apply_plan(build_backbone("resnet_cifar", SMALL), SharingPlan()).eval()
    space = SearchSpace(find_sites(shared), count_parameters(shared))
    shared = apply_plan(shared, space.fully_shared_plan())
    program = torch.export.export(shared, (images(1),))
    assert torch.allclose(program.module()(images(1)), shared(images(1)), atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([8, 14, 20]), st.integers(1, 5), st.integers(0, 10**6))
def test_the_closed_form_is_what_is_counted(depth: int, width: int, seed: int) -> None:
    module = build_backbone("resnet_cifar", {"depth": depth, "width": width})
    space = SearchSpace(find_sites(module), count_parameters(module))
    plan = space.random_plan(random.Random(seed))
    assert count_parameters(apply_plan(module, plan)) == space.trainable_parameters(plan)


def test_biases_are_tied_only_where_there_are_any() -> None:
    module = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1, bias=False))
    plan = SharingPlan((Bank("kernel", {}, ("0", "1")),))
    shared = apply_plan(module, plan)
    assert count_parameters(shared) == 2 * 2 * 9 + 2
    assert plan_parameters(plan, find_sites(module), count_parameters(module)) == 2 * 2 * 9 + 2
    assert conv(shared, "1").bias is None


def test_the_snippet_of_the_readme_works_on_any_network() -> None:
    model = build_backbone("torchvision.models:resnet18", {})
    groups = isomorphic_groups(find_sites(model))
    plan = SharingPlan(
        banks=(Bank(method="kernel", options={}, sites=tuple(site.name for site in groups[0])),)
    )
    assert count_parameters(model) - count_parameters(apply_plan(model, plan)) == 3 * 64 * 64 * 9


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        (("convs.0", "nowhere"), "no site 'nowhere': it has stem, convs.0"),
        (("convs.0", "stem"), "stem is 1→2 3x3, but convs.0 is 2→2 3x3"),
        (("convs.0", "tail"), "no site 'tail'"),
        (("convs.0", "head"), "head is 2→2 linear"),
        (("convs.0", "symbols"), "'symbols' cannot share: an embedding"),
    ],
)
def test_plans_that_do_not_fit_are_refused_before_anything_is_built(
    sites: tuple[str, ...], says: str
) -> None:
    module = nn.Module()
    module.stem = nn.Conv2d(1, 2, 3)
    module.convs = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    module.symbols = nn.Embedding(2, 2)
    module.head = nn.Linear(2, 2)
    with pytest.raises(PlanError, match=says):
        apply_plan(module, SharingPlan((Bank("kernel", {}, sites),)))
