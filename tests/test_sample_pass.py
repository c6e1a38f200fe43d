"""A sample of the input tells whether what a plan shares acts, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isoshare import SharingPlan, apply_plan, create_study
from isoshare.search.options.space import SpaceConfig
from isoshare.search.workflows.preparation.network import network_remarks, network_space
from isoshare.space.apply import count_parameters
from isoshare.space.errors import PlanError
from isoshare.space.inheritance import TrainedWeightsWarning
from isoshare.space.methods import METHODS
from isoshare.space.passes.acting_sites import acting_sites
from isoshare.space.plan import Bank
from isoshare.space.sites import find_sites
from tests.test_odd_networks import OPTIONS, SERVED, SITES, Net, ReadsKernels, images

BANKS = {**OPTIONS, "low_rank": {"rank": 2}}
NORM = {"regulator_after": "batch_norm"}


class Past(Net):
    """Takes kernels from where PyTorch keeps them, past the attribute."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        one: Any = self.body[place]
        return functional.conv2d(x, one._parameters["weight"], one.bias, padding=1)


class Kernel:
    """No module, so nobody sees what it holds."""

    def __init__(self, layer: Any) -> None:
        self.kernel = layer.weight


class Hidden(Net):
    """Computes with a kernel that something else holds."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = Kernel(self.body[1])

    def convolved(self, place: int, x: Tensor) -> Tensor:
        if place != 1:
            return super().convolved(place, x)
        return functional.conv2d(x, self.hidden.kernel, padding=1)


class Coarse(Net):
    """Computes in half precision, whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


class Replaces(Net):
    """Puts a new kernel in the place of the one that is trained."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        one: Any = self.body[place]
        one.weight = nn.Parameter(one.weight.detach().clone())
        return super().convolved(place, x)


class Idle(Net):
    """Calls one convolution of three."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        return super().convolved(place, x) if place == 0 else x


class Flow(Net):
    """Which convolution is next the data decide, and which one is trained chance."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        place = int(x.abs().sum()) % 3
        if self.training:
            place = int(torch.randint(3, ()))
        return super().convolved(place, x)


def shared(network: nn.Module, method: str, **changes: Any) -> nn.Module:
    plan = SharingPlan((Bank(method, {**BANKS[method], **changes}, SITES),))
    return apply_plan(network, plan, weights="fresh", sample=images())


@pytest.mark.parametrize("method", METHODS)
def test_whoever_reads_the_attribute_passes(method: str) -> None:
    torch.manual_seed(0)
    served = (SERVED["a forward of its own"], SERVED["bfloat16"])
    for make in (Net, ReadsKernels, Flow, Coarse, *served):
        network, x = make(), images().to(next(make().parameters()).dtype)
        plan = SharingPlan((Bank(method, BANKS[method], SITES),))
        expected = network.state_dict()
        random = torch.get_rng_state()
        found = apply_plan(network, plan, weights="fresh", sample=x)
        torch.set_rng_state(random)
        again = apply_plan(network, plan, weights="fresh")
        for name, tensor in found.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name]), name
        assert all(torch.equal(t, network.state_dict()[n]) for n, t in expected.items())
        assert all(tensor.grad is None for tensor in network.parameters())


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "past a regulator": (Past, "anchored", r"reads weights of 'body.0' .* past it"),
    "past a basis": (Past, "filter_basis", r"method filter_basis cannot compute: TypeError"),
    "past a residual": (Past, "low_rank", r"past method low_rank: 'body.0.left' gets no gradient"),
    "a hidden kernel": (Hidden, "kernel", r"the weight that 'body.1' had before it was shared"),
    "a kernel in its place": (Replaces, "kernel", r"another tensor in the place of the weight of"),
    "idle, tied": (Idle, "kernel", r"'body.1' gets no gradient from a sample: nothing calls it"),
    "idle, of a basis": (Idle, "filter_basis", r"'body.1' gets no gradient from a sample"),
}


@pytest.mark.parametrize(("make", "method", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_act_is_refused(
    make: Callable[[], nn.Module], method: str, said: str
) -> None:
    with pytest.raises(PlanError, match=said):
        shared(make(), method)


def test_a_sample_that_does_not_fit_is_named() -> None:
    plan = SharingPlan((Bank("kernel", {}, SITES),))
    with pytest.raises(PlanError, match=r"cannot take the sample: RuntimeError: .* or none"):
        apply_plan(Net(), plan, sample=torch.zeros(2, 4, 8, 8))


def space_of(network: nn.Module, methods: tuple[str, ...]) -> dict[str, bool]:
    sites = find_sites(network)
    found = acting_sites(network, sites, count_parameters(network), methods, images())
    return {site.name: site.subclass for site in found if site.name in SITES}


def test_a_search_decides_on_what_acts_alone() -> None:
    every = ("kernel", "anchored", "slice_generator")
    assert space_of(Net(), every) == dict.fromkeys(SITES, False)
    assert space_of(Past(), every) == dict.fromkeys(SITES, True)
    assert space_of(Past(), ("kernel",)) == dict.fromkeys(SITES, False)
    assert space_of(Hidden(), every) == {}
    assert space_of(Idle(), every) == {"body.0": False}


def test_a_search_says_what_it_leaves_out() -> None:
    options = SpaceConfig(backbone="mine:Past", methods=("kernel", "anchored"))
    space = network_space(Past(), options, torch.zeros(1, 3, 8, 8), ("parameters",))
    said = " ".join(network_remarks(Past(), space, options, "train"))
    assert "reads the weights of 'body.0', 'body.1', 'body.2' in ways of its own" in said
    assert {offer.method for offer in space.offers} == {"kernel"}

    class Two(Idle):
        def convolved(self, place: int, x: Tensor) -> Tensor:
            return Net.convolved(self, place, x) if place else x

    space = network_space(Two(), options, torch.zeros(1, 3, 8, 8), ("parameters",))
    said = " ".join(network_remarks(Two(), space, options, "train"))
    assert "'body.0' get no gradient from a sample" in said


def test_a_study_of_a_trained_model_says_what_it_would_lose() -> None:
    network = Net()
    network(images())
    with pytest.warns(TrainedWeightsWarning, match=r"Net is trained .*weights='inherit'"):
        create_study(network)
    create_study(network, weights="fresh")
    create_study(Net())


@pytest.mark.parametrize("method", BANKS)
def test_a_layer_that_a_global_name_leads_to_is_noticed(method: str) -> None:
    """Every copy would go on computing with the network that it is a copy of."""
    beyond: dict[str, nn.Module] = {}

    class Beyond(Net):
        def forward(self, x: Tensor) -> Tensor:
            more: Tensor = beyond["layer"](self.stem(x)).mean()
            return super().forward(x) + more

    network = Beyond()
    beyond["layer"] = network.body[0]
    bank = Bank(method, BANKS[method], tuple(SITES))
    with pytest.raises(PlanError, match=r"computes with 'body\.0' of the network that was copied"):
        apply_plan(network, SharingPlan((bank,)), weights="fresh", sample=images())
