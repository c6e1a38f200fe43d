"""Projected banks are brought close to what their sites computed unshared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoshare import Bank, SharingPlan
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit
from isoshare.evaluators.sensitivities import output_matching
from isoshare.evaluators.sensitivities.output_matching import (
    BATCH,
    IMAGES,
    input_statistics,
    match_outputs,
)
from isoshare.evaluators.sensitivities.site_statistics import KnownOutput
from isoshare.evaluators.training.batches import Batches
from tests.test_methods import OPTIONS, body_sites
from tests.test_weight_projection import data, images, trained


def outputs_off(network: nn.Module, source: nn.Module, names: tuple[str, ...]) -> float:
    """1 - the correlation of what sites compute with what they computed, from the same inputs."""
    off: list[Tensor] = []

    def compare(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], wanted: Tensor) -> None:
            found = network.get_submodule(name)(*inputs)
            pairs = zip(
                found.transpose(0, 1).flatten(1), wanted.transpose(0, 1).flatten(1), strict=True
            )
            off.extend(1 - torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs)

        return hook

    hooks = [source.get_submodule(name).register_forward_hook(compare(name)) for name in names]
    with torch.no_grad():
        source(images())
    for one in hooks:
        one.remove()
    return float(torch.stack(off).mean())


@pytest.mark.parametrize("method", OPTIONS)
def test_outputs_come_closer_whatever_the_method(method: str) -> None:
    source = trained()
    calibrate(source, data())
    known = input_statistics(source, data().first(IMAGES, BATCH))
    plan = SharingPlan((Bank(method, OPTIONS[method], body_sites(source)),))
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    network, _ = inherit(source, plan)
    moved = match_outputs(network, source, plan, known)
    again, _ = inherit(source, plan)
    first = {
        name: known[name].error(weight_of(source, name), weight_of(again, name)) for name in moved
    }
    assert set(moved) == {*body_sites(source)}
    assert sum(moved.values()) < 0.9 * sum(first.values())
    assert all(torch.equal(t, before[name]) for name, t in source.state_dict().items())
    assert all(tensor.grad is None for tensor in network.parameters())
    assert [one.requires_grad for one in network.parameters()] == [
        one.requires_grad for one in again.parameters()
    ]
    names = body_sites(source)
    assert outputs_off(network, source, names) < 0.95 * outputs_off(again, source, names)


def weight_of(network: nn.Module, name: str) -> Any:
    return network.get_submodule(name).weight.detach()  # type: ignore[operator]


def test_what_is_exact_stays_and_what_cannot_be_matched_is_left_alone() -> None:
    source = trained()
    convs: list[Any] = [source.body[place] for place in (0, 3, 6, 9)]
    for conv in convs[1:]:
        conv.weight.data.copy_(convs[0].weight)
    plan = SharingPlan((Bank("kernel", {}, body_sites(source)),))
    network, _ = inherit(source, plan)
    known = input_statistics(source, data().first(IMAGES, BATCH))
    assert sum(match_outputs(network, source, plan, known).values()) < 1e-4
    assert torch.allclose(weight_of(network, "body.3"), convs[0].weight, atol=1e-3)
    kept = weight_of(network, "body.0").clone()
    assert match_outputs(network, source, plan, {}) == {}
    assert torch.equal(weight_of(network, "body.0"), kept)
    still = Batches(torch.zeros(8, 2, 9, 9), torch.zeros(8).long())
    assert "stem" not in input_statistics(source, still.first(IMAGES, BATCH)), (
        "constant inputs say nothing"
    )


def test_more_steps_come_closer_where_they_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    source = trained()
    known = input_statistics(source, data().first(IMAGES, BATCH))
    plan = SharingPlan((Bank("anchored", {}, body_sites(source)),))

    def reached(most: int) -> float:
        return sum(match_outputs(inherit(source, plan)[0], source, plan, known, most=most).values())

    few, many = reached(output_matching.STEPS), reached(output_matching.MOST_STEPS)
    assert many < few
    monkeypatch.setattr(output_matching, "MOST_WORK", 1.0)
    assert reached(output_matching.MOST_STEPS) == few


def test_channels_count_by_how_much_the_loss_depends_on_them() -> None:
    source = trained()
    known = input_statistics(source, data().first(IMAGES, BATCH))
    names = body_sites(source)
    plan = SharingPlan((Bank("kernel", {}, names),))
    importance = {name: torch.zeros_like(weight_of(source, name)) for name in names}

    def matched() -> Any:
        network, _ = inherit(source, plan)
        match_outputs(network, source, plan, known, importance=importance)
        return network

    alike = weight_of(matched(), names[0])
    for one in importance.values():
        one[1] = 1.0

    def off_in_channel(network: nn.Module) -> float:
        pairs = [(weight_of(source, name), weight_of(network, name)) for name in names]
        outputs = [
            KnownOutput(known[name], wanted).correlation(found)[1]
            for name, (wanted, found) in zip(names, pairs, strict=True)
        ]
        return 1 - float(torch.stack(outputs).mean())

    plain, _ = inherit(source, plan)
    match_outputs(plain, source, plan, known)
    assert torch.allclose(alike, weight_of(plain, names[0]), atol=1e-4), "no gradients, no weights"
    assert off_in_channel(matched()) <= off_in_channel(plain) + 1e-4
