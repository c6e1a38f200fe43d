"""Weights of a trained network are projected onto plans; splits start where their parent is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan, apply_plan
from isoshare.evaluators.data.augmentation import Augmentation
from isoshare.evaluators.inheriting.fisher_information import fisher
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit, take_over
from isoshare.evaluators.training.batches import Batches
from isoshare.space.methods import METHODS
from isoshare.space.methods.kernel import mean_kernel
from tests.fakes import first_options
from tests.test_methods import Net, body_sites

PLENTY: dict[str, dict[str, Any]] = {
    **first_options(),
    "kernel": {},
    "anchored": {},
    "filter_basis": {"shared_rank": 16, "unique_rank": 4},
    "slice_generator": {"slice_size": 4, "code_size": 4},
    "low_rank": {"rank": 4},
}
"""Options under which four kernels of 4→4 3x3 can be had exactly, but for kernel and anchored."""


def trained(seed: int = 0) -> Net:
    """A network with statistics and weights that are not those of a fresh one."""
    torch.manual_seed(seed)
    network = Net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        network(images()).square().mean().backward()
        optimizer.step()
    return network.eval()


def images(batch: int = 32) -> Tensor:
    return torch.randn(batch, 2, 9, 9, generator=torch.Generator().manual_seed(0))


def data() -> Batches:
    return Batches(images(), torch.arange(32) % 3)


def plan_of(method: str, options: dict[str, Any], *parts: tuple[str, ...]) -> SharingPlan:
    return SharingPlan(tuple(Bank(method, options, part) for part in parts))


@pytest.mark.parametrize("method", ["filter_basis", "slice_generator", "low_rank"])
def test_a_large_enough_bank_keeps_the_function(method: str) -> None:
    source = trained()
    plan = plan_of(method, PLENTY[method], body_sites(source))
    network, error = inherit(source, plan)
    assert sum(error.values()) < 1e-10
    calibrate(source, data())
    calibrate(network, data())
    with torch.no_grad():
        assert torch.allclose(network(images()), source(images()), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_projection_comes_closer_than_fresh_weights_and_leaves_the_source_alone(
    method: str,
) -> None:
    source = trained()
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    options = {**PLENTY[method], **({"shared_rank": 4} if method == "filter_basis" else {})}
    plan = plan_of(method, options, body_sites(source))
    network, error = inherit(source, plan, fisher(source, data()))
    assert set(error) == {*body_sites(source)}
    assert all(0 <= one <= 1 for one in error.values())
    assert sum(error.values()) / 4 < 0.9
    head: Any = network.get_submodule("head")
    assert torch.equal(head.weight, source.head.weight)
    assert all(torch.equal(t, before[name]) for name, t in source.state_dict().items())


def lost(source: nn.Module, plan: SharingPlan) -> float:
    return sum(inherit(source, plan)[1].values())


def test_more_options_come_closer() -> None:
    source = trained()
    names = body_sites(source)
    errors = [
        lost(source, plan_of("filter_basis", {"shared_rank": s, "unique_rank": u}, names))
        for s, u in ((2, 0), (4, 0), (4, 2), (8, 2))
    ]
    assert errors == sorted(errors, reverse=True)
    kernel, anchored = (lost(source, plan_of(m, {}, names)) for m in ("kernel", "anchored"))
    assert anchored < kernel
    generators = [
        lost(source, plan_of("slice_generator", {"slice_size": 2, "code_size": c}, names))
        for c in (2, 4, 8, 16)
    ]
    assert generators == sorted(generators, reverse=True)


def test_a_frozen_generator_is_kept_and_the_codes_come_closest() -> None:
    source = trained()
    options = {"slice_size": 2, "code_size": 8, "generator": "binary"}
    torch.manual_seed(0)
    network, _ = inherit(source, plan_of("slice_generator", options, body_sites(source)))
    host: Any = network.get_submodule("body.0")
    assert set(host.generator.unique().tolist()) == {-0.5, 0.5}
    first: Any = source.body[0]
    wanted = host.cut(first.weight.detach())
    residual = wanted - host.codes @ host.generator.T
    assert (residual @ host.generator).abs().max() < 1e-4  # orthogonal to what the codes can reach


def test_the_mean_kernel_is_aligned_in_scale_and_weighted() -> None:
    one, two = torch.randn(2, 2, 3, 3), torch.randn(2, 2, 3, 3)
    ones = torch.ones_like(one)
    plain = mean_kernel([one, 10 * two], [ones, 0.01 * ones])  # importance falls as scale grows
    aligned = one / one.norm() + two / two.norm() * 1.0
    cosine = torch.cosine_similarity(plain.flatten(), aligned.flatten(), dim=0)
    weights = one.norm() ** 2, 0.01 * (10 * two).norm() ** 2
    by_hand = weights[0] * one / one.norm() + weights[1] * two / two.norm()
    assert torch.cosine_similarity(plain.flatten(), by_hand.flatten(), dim=0) > 0.9999
    assert cosine > 0.9
    assert plain.norm() == pytest.approx(((one.norm() + (10 * two).norm()) / 2).item(), rel=1e-5)
    first = mean_kernel([one, two], [1e6 * ones, ones])
    assert torch.cosine_similarity(first.flatten(), one.flatten(), dim=0) > 0.99


def test_equal_kernels_stay_exactly_what_they_are() -> None:
    kernel = torch.randn(3, 3, 3, 3)
    assert torch.equal(mean_kernel([kernel, kernel.clone()], [kernel**2, kernel**4]), kernel)


def moved(network: nn.Module) -> nn.Module:
    """Trained on a little, so that normalisations within what methods add are no identity."""
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        network(images()).square().mean().backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("method", METHODS)
def test_a_split_starts_exactly_at_its_parents_function(method: str) -> None:
    """Two banks exactly; private convolutions, with a bias and without, up to rounding."""
    source = trained()
    names = body_sites(source)
    options = PLENTY[method]
    whole = plan_of(method, options, names)
    parent, _ = inherit(source, whole)
    calibrate(parent, data())
    moved(parent)
    rounding = 1e-5 if method in ("anchored", "filter_basis") else 0.0  # something is multiplied in
    children = {
        plan_of(method, options, names[:2], names[2:]): 0.0,
        plan_of(method, options, names[:2]): rounding,
        SharingPlan(): rounding,
    }
    for plan, tolerance in children.items():
        child = take_over(apply_plan(trained(1), plan, weights="fresh"), parent, whole).eval()
        with torch.no_grad():
            found, expected = child(images()), parent(images())
        assert (found - expected).abs().max() <= tolerance


def test_the_normalisations_that_projection_takes_for_the_identity_become_it() -> None:
    source = trained()
    plan = plan_of("filter_basis", PLENTY["filter_basis"], body_sites(source))
    network, _ = inherit(source, plan)
    calibrate(network, data())
    norms = [n for row in METHODS.values() for n in row.implementation.norms_to_calibrate(network)]
    assert len(norms) == 4
    for norm in norms:
        x = torch.randn(2, norm.num_features, 5, 5)
        assert torch.allclose(norm(x), x, atol=1e-5)


def test_statistics_are_those_of_images_as_they_are_trained_on() -> None:
    """Weights that have learnt from cropped images expect their black borders."""
    white = torch.full((64, 3, 8, 8), 255, dtype=torch.uint8)
    data = Batches(white, torch.zeros(64, dtype=torch.long), augmentation=Augmentation(crop=4))
    means = []
    for some in (data, data, replace(data, augmentation=Augmentation())):
        norm = nn.BatchNorm2d(3)
        calibrate(norm, some)
        assert norm.running_mean is not None
        means.append(norm.running_mean)
    assert torch.equal(means[0], means[1]), "the same images each time"
    assert torch.all(means[0] < means[2] - 50)
